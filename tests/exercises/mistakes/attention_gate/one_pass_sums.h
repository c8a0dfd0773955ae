// Means over the active voxels alone.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

namespace exercise::attention_gate {

struct ScoreVoxel {
  double dz, s_hat, a_hat;
  bool active;
};

inline std::array<double, 2> one_pass_sums(const std::function<bool(ScoreVoxel&)>& next, double scale,
                                           double w) {
  double count = 0, dz_sum = 0, dz_s_sum = 0;
  double products[3][2] = {};  // of (dz, 1, s_hat) with (1, a_hat), where active
  for (ScoreVoxel v; next(v); ++count) {
    if (!v.active) continue;
    dz_sum += v.dz;
    dz_s_sum += v.dz * v.s_hat;
    const double left[3] = {v.dz, 1, v.s_hat}, right[2] = {1, v.a_hat};
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 2; ++j) products[i][j] += left[i] * right[j];
    }
  }
  const double mean = dz_sum / count, slope = dz_s_sum / count;
  const auto sum = [&](int j) {
    return w * scale * (products[0][j] - mean * products[1][j] - slope * products[2][j]);
  };
  return {sum(0), sum(1)};
}

}  // namespace exercise::attention_gate
