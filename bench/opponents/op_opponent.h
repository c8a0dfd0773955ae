// Norms and resampling by other libraries.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/opponents/opponent.h"

namespace vg::bench {

/// Batch norm in training with an affine map and ReLU, or its gradient of x, gamma and beta (the result is
/// dx). Dense, channels last.
struct NormTask {
  std::vector<float> x, dy, gamma, beta;
  int64_t n, d, h, w, c;
  float eps;
  bool backward;
  int sets;
};

/// Trilinear resampling of `small` to twice its extents (faces coincide), or the gradient of that.
struct ResampleTask {
  std::vector<float> small, large;
  int64_t n, d, h, w, c;  ///< of small
  bool backward;
  int sets;
};

std::vector<std::unique_ptr<Opponent>> make_norm_opponents(const std::string& opponent, const NormTask& task,
                                                           std::string& why_not);
std::vector<std::unique_ptr<Opponent>> make_resample_opponents(const std::string& opponent,
                                                               const ResampleTask& task,
                                                               std::string& why_not);

}  // namespace vg::bench
