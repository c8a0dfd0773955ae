// A norm with its statistics and parameters on a device, for kernels that apply one or make its gradient.
#pragma once

#include <optional>
#include <vector>

#include "kernels/norm3d/norm3d.h"
#include "support/buffer.h"
#include "support/random_data.h"

namespace vg::test {

struct NormCase {
  kernels::ActivationKind activation = kernels::ActivationKind::relu;
  bool per_instance = false, affine = true, fixed = false;
};

/// Of `channels` channels of `samples` samples. With `exact`, integers stay integers.
class NormOnDevice {
 public:
  NormOnDevice(const NormCase& c, kernels::DeviceKind device, int64_t samples, int64_t channels, bool exact,
               uint32_t seed)
      : case_(c), eps_(exact ? 0 : 1e-5f) {
    const int64_t groups = channels * (c.per_instance ? samples : 1);
    const auto values = [&](int64_t count, uint32_t s, float low, float high) {
      return exact ? integers(count, seed + s, 1) : uniform(count, seed + s, low, high);
    };
    mean_.emplace(device, values(groups, 0, -1, 1));
    variance_.emplace(device, exact ? std::vector<float>(static_cast<size_t>(groups), 1)
                                    : uniform(groups, seed + 1, 0.5f, 2));
    gamma_.emplace(device, values(channels, 2, -1, 2));
    beta_.emplace(device, values(channels, 3, -1, 1));
    slope_.emplace(device, std::vector<float>{exact ? 2.0f : 0.2f});
    means_.emplace(device, values(2 * groups, 4, -1, 1));
  }

  [[nodiscard]] kernels::InputNorm norm() const {
    const bool prelu = case_.activation == kernels::ActivationKind::prelu;
    return {.mean = mean_->data(),
            .variance = variance_->data(),
            .gamma = case_.affine ? gamma_->data() : nullptr,
            .beta = case_.affine ? beta_->data() : nullptr,
            .slope = prelu ? slope_->data() : nullptr,
            .params = {.per_instance = case_.per_instance,
                       .eps = eps_,
                       .fixed_statistics = case_.fixed,
                       .activation = {.kind = case_.activation, .negative_slope = 2, .slope_count = 1}}};
  }
  /// As norm3d_add_gradients() leaves them.
  [[nodiscard]] float* means() const { return means_->data(); }

 private:
  NormCase case_;
  float eps_;
  std::optional<Buffer<float>> mean_, variance_, gamma_, beta_, slope_, means_;
};

}  // namespace vg::test
