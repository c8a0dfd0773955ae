#include "kernels/common/simd.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace vg::kernels::cpu {

namespace {

Isa best_isa() {
  if (isa_supported(Isa::avx512)) return Isa::avx512;
  return isa_supported(Isa::avx2) ? Isa::avx2 : Isa::portable;
}

Isa checked(Isa isa) {
  if (!isa_supported(isa)) {
    throw std::runtime_error(std::string("instruction set '") + isa_name(isa) +
                             "' was asked for, but this processor lacks it");
  }
  return isa;
}

Isa initial_isa() {
  const char* value = std::getenv("VOXGRAD_ISA");
  if (value == nullptr || *value == '\0') return best_isa();
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (std::string(value) == isa_name(isa)) return checked(isa);
  }
  throw std::runtime_error(std::string("environment: VOXGRAD_ISA is '") + value +
                           "', expected portable, avx2 or avx512");
}

std::atomic<Isa>& current_isa() {
  static std::atomic<Isa> isa{initial_isa()};
  return isa;
}

}  // namespace

bool isa_supported([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::avx512:
      return __builtin_cpu_supports("x86-64-v4");
    case Isa::avx2:
      return __builtin_cpu_supports("x86-64-v3");
    case Isa::portable:
      return true;
  }
  return false;
#else
  return isa == Isa::portable;
#endif
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    case Isa::portable:
      break;
  }
  return "portable";
}

Isa active_isa() {
  return current_isa().load(std::memory_order_relaxed);
}

void force_isa(Isa isa) {
  current_isa().store(checked(isa), std::memory_order_relaxed);
}

}  // namespace vg::kernels::cpu
