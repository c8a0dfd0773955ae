// Runs the functions of a convolution, plain or transposed, of bfloat16 activations on one case and compares
// with the oracle.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/common/bfloat16.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/conv_functions.h"
#include "support/conv_oracle.h"
#include "support/random_data.h"

namespace vg::test {

using kernels::bfloat16;

inline std::vector<bfloat16> to_bfloat16(const std::vector<float>& values) {
  std::vector<bfloat16> result;
  for (const float v : values) result.push_back(kernels::to_bfloat16(v));
  return result;
}
inline std::vector<float> to_float(const std::vector<bfloat16>& values) {
  std::vector<float> result;
  for (const bfloat16 v : values) result.push_back(kernels::to_float(v));
  return result;
}
inline std::vector<float> rounded(const std::vector<float>& values) {
  return to_float(to_bfloat16(values));
}

/// The forward pass with and without bias and the gradients of a convolution of an input [n, d, h, w,
/// in_channels], compared with the oracle on rounded inputs and weights: exactly for integers, else with the
/// tolerance of the sums' lengths. Params is Conv3dParams or ConvTranspose3dParams.
template <class Params>
class Bfloat16ConvCheck {
 public:
  Bfloat16ConvCheck(const Params& params, int64_t n, int64_t d, int64_t h, int64_t w,
                    const kernels::Exec& exec, bool exact)
      : params_(params), exec_(exec), exact_(exact), oracle_(params, n, d, h, w) {
    x_ = rounded(data(oracle_.x().count(), 1));
    dy_ = rounded(data(oracle_.y().count(), 2));
    weight_ = data(oracle_.weights(), 3);
    bias_ = data(oracle_.y().c, 4);
    const auto rounded_weight = rounded(weight_);
    y_ = oracle_.forward(x_, rounded_weight, {});
    y_with_bias_ = oracle_.forward(x_, rounded_weight, bias_);
    dx_ = oracle_.backward_input(dy_, rounded_weight);
    // Accumulates: starts from the weights' own values.
    dweight_ = oracle_.backward_weight(dy_, x_);
    for (size_t i = 0; i < dweight_.size(); ++i) dweight_[i] += static_cast<double>(weight_[i]);
  }

  /// Calls forward(y, x, weight, bias), backward_input(dx, dy, weight) and backward_weight(dweight, dy, x).
  template <class Forward, class BackwardInput, class BackwardWeight>
  void run(const Placement& x_place, const Placement& y_place, const Forward& forward,
           const BackwardInput& backward_input, const BackwardWeight& backward_weight) const {
    const Params& p = params_;
    const auto &xe = oracle_.x(), &ye = oracle_.y();
    SCOPED_TRACE(::testing::Message()
                 << '[' << xe.n << ',' << xe.d << ',' << xe.h << ',' << xe.w << "] " << p.in_channels << "->"
                 << p.out_channels << " kernel " << p.kernel_size << " stride " << p.stride << " padding "
                 << p.padding << " halo " << x_place.halo << ' ' << y_place.halo << " channels before "
                 << x_place.channels_before << ' ' << y_place.channels_before);
    const DeviceKind device = exec_.device;
    const Activation<bfloat16> x(device, xe.n, xe.d, xe.h, xe.w, xe.c, to_bfloat16(x_), x_place),
        dy(device, ye.n, ye.d, ye.h, ye.w, ye.c, to_bfloat16(dy_), y_place);
    const Activation<bfloat16> y(device, ye.n, ye.d, ye.h, ye.w, ye.c, y_place),
        dx(device, xe.n, xe.d, xe.h, xe.w, xe.c, x_place);
    const Buffer<float> weight(device, weight_), bias(device, bias_);
    forward(y.view(), x, weight.data(), bias.data());
    EXPECT_TRUE(close(y.get(), y_with_bias_, oracle_.forward_length()));
    forward(y.view(), x, weight.data(), static_cast<const float*>(nullptr));
    EXPECT_TRUE(close(y.get(), y_, oracle_.forward_length()));
    backward_input(dx.view(), dy, weight.data());
    EXPECT_TRUE(close(dx.get(), dx_, oracle_.backward_input_length()));
    const Buffer<float> dweight(device, weight_);
    backward_weight(dweight.data(), dy, x);
    EXPECT_TRUE(all_close(dweight.get(), dweight_,
                          exact_ ? 0 : sum_tolerance(oracle_.backward_weight_length()),
                          exact_ ? 0 : 0x1p-23));
  }

  /// The public functions.
  void run(const Placement& x_place = {}, const Placement& y_place = {}) const {
    run_public_functions<bfloat16>(*this, x_place, y_place, params_, exec_);
  }

 private:
  std::vector<float> data(int64_t count, uint32_t seed) const {
    return exact_ ? integers(count, seed) : uniform(count, seed);
  }
  // Sums in float err as elsewhere; tensor cores may also truncate where they align 16 products to the
  // running sum, about sqrt(length) in magnitude: a unit in the last place for each mma.
  static double sum_tolerance(int64_t length) {
    const double l = static_cast<double>(length);
    return float_tolerance(length + 1) + l / 16 * 0x1p-23 * std::sqrt(l);
  }
  // Integers sum exactly in float, so that the result is the sum rounded once. Else the rounding of the
  // result is half a unit of 8 bits, 2^-8 of its magnitude.
  ::testing::AssertionResult close(const std::vector<bfloat16>& actual, const std::vector<double>& expected,
                                   int64_t length) const {
    if (exact_)
      return all_close(to_float(actual), rounded(std::vector<float>(expected.begin(), expected.end())), 0);
    return all_close(to_float(actual), expected, sum_tolerance(length), 0x1p-8);
  }

  Params params_;
  kernels::Exec exec_;
  bool exact_;
  ConvOracle oracle_;
  std::vector<float> x_, dy_, weight_, bias_;
  std::vector<double> y_, y_with_bias_, dx_, dweight_;
};

}  // namespace vg::test
