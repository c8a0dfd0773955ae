// From a public kernel function to the implementation for a device and an instruction set.
#pragma once

#include "kernels/common/check.h"
#include "kernels/common/exec.h"
#include "kernels/common/simd.h"
#include "kernels/common/view.h"

// The same for the CPU's alone.
#define VG_DECLARE_CPU_IMPLEMENTATIONS(...) \
  namespace cpu::portable {                 \
  __VA_ARGS__                               \
  }                                         \
  namespace cpu::avx2 {                     \
  __VA_ARGS__                               \
  }                                         \
  namespace cpu::avx512 {                   \
  __VA_ARGS__                               \
  }

// Declares the given functions in every implementation namespace: cpu::portable, cpu::avx2, cpu::avx512,
// cuda. Their signatures are those of the public functions. Use within namespace vg::kernels.
#define VG_DECLARE_IMPLEMENTATIONS(...)       \
  VG_DECLARE_CPU_IMPLEMENTATIONS(__VA_ARGS__) \
  namespace cuda {                            \
  __VA_ARGS__                                 \
  }

#if defined(__x86_64__)
#define VG_CALL_CPU(function, ...)                 \
  switch (::vg::kernels::cpu::active_isa()) {      \
    case ::vg::kernels::cpu::Isa::avx512:          \
      return cpu::avx512::function(__VA_ARGS__);   \
    case ::vg::kernels::cpu::Isa::avx2:            \
      return cpu::avx2::function(__VA_ARGS__);     \
    case ::vg::kernels::cpu::Isa::portable:        \
      return cpu::portable::function(__VA_ARGS__); \
  }
#else
#define VG_CALL_CPU(function, ...) return cpu::portable::function(__VA_ARGS__)
#endif

#ifdef VOXGRAD_WITH_CUDA
#define VG_CALL_CUDA(function, ...) return cuda::function(__VA_ARGS__)
#else
#define VG_CALL_CUDA(function, ...) ::vg::kernels::throw_built_without_cuda(__VA_ARGS__)
#endif

// Calls cuda::function(args...) where there is no version for the CPU: for bfloat16 activations.
#define VG_DISPATCH_CUDA(exec, function, ...)              \
  do {                                                     \
    ::vg::kernels::require_cuda(#function, (exec).device); \
    if ((exec).planning) return;                           \
    VG_CALL_CUDA(function, __VA_ARGS__);                   \
  } while (false)

// Calls `function(args...)`, whose last argument is the Exec `exec`, in the namespace that fits. Returns from
// the function that uses it.
#define VG_DISPATCH(exec, function, ...)                    \
  do {                                                      \
    if ((exec).planning) return;                            \
    if ((exec).device == ::vg::kernels::DeviceKind::cuda) { \
      VG_CALL_CUDA(function, __VA_ARGS__);                  \
    }                                                       \
    VG_CALL_CPU(function, __VA_ARGS__);                     \
    throw std::logic_error("unknown instruction set");      \
  } while (false)
