// Runs the functions of a convolution of float activations, whose operands are rounded to TF32, and compares
// with the oracle.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "support/buffer.h"
#include "support/compare.h"
#include "support/conv_functions.h"
#include "support/conv_oracle.h"
#include "support/random_data.h"

namespace vg::test {

/// To 10 bits of mantissa, nearest, ties away from zero, as PTX's cvt.rna.tf32.f32.
inline float rounded_to_tf32(float value) {
  return std::bit_cast<float>((std::bit_cast<uint32_t>(value) + 0x1000u) & 0xFFFFE000u);
}
inline std::vector<float> rounded_to_tf32(std::vector<float> values) {
  for (float& value : values) value = rounded_to_tf32(value);
  return values;
}

/// The functions of a convolution, plain or transposed, on one case against the oracle on rounded operands.
template <class Params>
class Tf32Check {
 public:
  Tf32Check(const Params& params, int64_t n, int64_t d, int64_t h, int64_t w, kernels::Exec exec, bool exact)
      : params_(params), exec_(exec), exact_(exact), oracle_(params, n, d, h, w) {
    exec_.allow_tf32 = true;
    x_ = data(oracle_.x().count(), 1);
    dy_ = data(oracle_.y().count(), 2);
    weight_ = data(oracle_.weights(), 3);
    bias_ = data(oracle_.y().c, 4);
    y_ = oracle_.forward(rounded_to_tf32(x_), rounded_to_tf32(weight_), {});
    dx_ = oracle_.backward_input(rounded_to_tf32(dy_), rounded_to_tf32(weight_));
    dweight_ = oracle_.backward_weight(rounded_to_tf32(dy_), rounded_to_tf32(x_));
    // Accumulates: starts from the weights' own values.
    for (size_t i = 0; i < dweight_.size(); ++i) dweight_[i] += static_cast<double>(weight_[i]);
    y_with_bias_ = y_;
    for (size_t i = 0; i < y_.size(); ++i) y_with_bias_[i] += static_cast<double>(bias_[i % bias_.size()]);
  }

  template <class Forward, class BackwardInput, class BackwardWeight>
  void run(const Placement& x_place, const Placement& y_place, const Forward& forward,
           const BackwardInput& backward_input, const BackwardWeight& backward_weight) const {
    const auto &xe = oracle_.x(), &ye = oracle_.y();
    SCOPED_TRACE(::testing::Message()
                 << '[' << xe.n << ',' << xe.d << ',' << xe.h << ',' << xe.w << "] " << params_.in_channels
                 << "->" << params_.out_channels << " kernel " << params_.kernel_size << " stride "
                 << params_.stride << " padding " << params_.padding << " halo " << x_place.halo << ' '
                 << y_place.halo << " channels before " << x_place.channels_before << ' '
                 << y_place.channels_before);
    const DeviceKind device = exec_.device;
    const Activation<float> x(device, xe.n, xe.d, xe.h, xe.w, xe.c, x_, x_place),
        dy(device, ye.n, ye.d, ye.h, ye.w, ye.c, dy_, y_place);
    const Activation<float> y(device, ye.n, ye.d, ye.h, ye.w, ye.c, y_place),
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
    EXPECT_TRUE(close(dweight.get(), dweight_, oracle_.backward_weight_length()));
  }
  /// The public functions.
  void run(const Placement& x_place = {}, const Placement& y_place = {}) const {
    run_public_functions<float>(*this, x_place, y_place, params_, exec_);
  }

 private:
  std::vector<float> data(int64_t count, uint32_t seed) const {
    return exact_ ? integers(count, seed) : uniform(count, seed);
  }
  // As for bfloat16 (bfloat16_conv_check.h): tensor cores may truncate where they align 8 products to the
  // running sum.
  ::testing::AssertionResult close(const std::vector<float>& actual, const std::vector<double>& expected,
                                   int64_t length) const {
    const double l = static_cast<double>(length),
                 tolerance = float_tolerance(length + 1) + l / 8 * 0x1p-23 * std::sqrt(l);
    return all_close(actual, expected, exact_ ? 0 : tolerance, exact_ ? 0 : 0x1p-23);
  }

  Params params_;
  kernels::Exec exec_;
  bool exact_;
  ConvOracle oracle_;
  std::vector<float> x_, dy_, weight_, bias_;
  std::vector<double> y_, y_with_bias_, dx_, dweight_;
};

}  // namespace vg::test
