#include "bench/opponents/opponent.h"

#include <stdexcept>

#include "bench/opponents/libraries.h"

namespace vg::bench {

namespace {

struct Library {
  const char* name;
  const char* package;
  std::string (*version)();  // null: not in this build
  decltype(&make_conv_opponents_onednn) convolutions;
};

constexpr Library libraries[] = {
#ifdef VG_WITH_ONEDNN
    {"onednn", "libdnnl-dev (Debian)", onednn_version, make_conv_opponents_onednn},
#else
    {"onednn", "libdnnl-dev (Debian)", nullptr, nullptr},
#endif
#ifdef VG_WITH_CUDNN
    {"cudnn", "cuDNN 9 with headers (NVIDIA's cudnn9-cuda-13, or the package of your CUDA)", cudnn_version,
     make_conv_opponents_cudnn},
#else
    {"cudnn", "cuDNN 9 with headers (NVIDIA's cudnn9-cuda-13, or the package of your CUDA)", nullptr,
     nullptr},
#endif
#ifdef VG_WITH_CUBLAS
    {"cublas", "cuBLAS of the CUDA toolkit", cublas_version, make_conv_opponents_cublas},
#else
    {"cublas", "cuBLAS of the CUDA toolkit", nullptr, nullptr},
#endif
};

const Library& library(const std::string& name) {
  for (const Library& candidate : libraries) {
    if (candidate.name != name) continue;
    if (candidate.version != nullptr) return candidate;
    throw std::runtime_error("--opponent " + name + ": this voxgrad-bench was built without it: install " +
                             candidate.package + " and build again" +
                             (name == "onednn" ? "" : " with the preset `cuda`"));
  }
  throw std::runtime_error("--opponent " + name + ": unknown");
}

}  // namespace

void require_opponent(const std::string& name) {
  library(name);
}

std::string opponent_version(const std::string& name) {
  return library(name).version();
}

std::vector<std::unique_ptr<Opponent>> make_conv_opponents(const std::string& opponent, const ConvTask& task,
                                                           std::string& why_not) {
  if (opponent == "none") return {};
  return library(opponent).convolutions(task, why_not);
}

std::vector<std::unique_ptr<Opponent>> make_norm_opponents(const std::string& opponent,
                                                           [[maybe_unused]] const NormTask& task,
                                                           std::string& why_not) {
#ifdef VG_WITH_ONEDNN
  if (opponent == "onednn") return make_norm_opponents_onednn(task);
#endif
  if (opponent != "none") why_not = no_race(opponent);
  return {};
}

std::vector<std::unique_ptr<Opponent>> make_resample_opponents(const std::string& opponent,
                                                               [[maybe_unused]] const ResampleTask& task,
                                                               std::string& why_not) {
#ifdef VG_WITH_ONEDNN
  if (opponent == "onednn") return make_resample_opponents_onednn(task);
#endif
  if (opponent != "none") why_not = no_race(opponent);
  return {};
}

std::string no_race(const std::string& opponent) {
  return opponent + ": not raced at this operation";
}

}  // namespace vg::bench
