// Runs every function of conv3d on one case and compares with the oracle.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <vector>

#include "kernels/conv3d/conv3d.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/conv_oracle.h"
#include "support/random_data.h"

namespace vg::test {

/// A convolution of an input [n, d, h, w, in_channels].
struct Conv3dCase {
  kernels::Conv3dParams params;
  int64_t n, d, h, w;
};

inline std::ostream& operator<<(std::ostream& out, const Conv3dCase& c) {
  return out << '[' << c.n << ',' << c.d << ',' << c.h << ',' << c.w << "] channels " << c.params.in_channels
             << "->" << c.params.out_channels << " kernel " << c.params.kernel_size << " stride "
             << c.params.stride << " padding " << c.params.padding;
}

/// Runs all functions and compares with the oracle: exactly for integers, else with the tolerance of
/// the sums' lengths, times `growth` for algorithms whose rounding errors exceed those of plain sums.
class Conv3dCheck {
 public:
  Conv3dCheck(const Conv3dCase& c, DeviceKind device, const kernels::Exec& exec, bool exact,
              double growth = 1)
      : case_(c),
        device_(device),
        exec_(exec),
        exact_(exact),
        growth_(growth),
        oracle_(c.params, c.n, c.d, c.h, c.w) {
    x_ = data(oracle_.x().count(), 1);
    dy_ = data(oracle_.y().count(), 2);
    weight_ = data(oracle_.weights(), 3);
    bias_ = data(oracle_.y().c, 4);
    const std::vector<float> no_bias;
    y_with_bias_ = oracle_.forward(x_, weight_, bias_);
    y_without_bias_ = oracle_.forward(x_, weight_, no_bias);
    dx_ = oracle_.backward_input(dy_, weight_);
    // Gradients of parameters accumulate: they start from the weights' and the bias's own values.
    dweight_ = sum(oracle_.backward_weight(dy_, x_), weight_);
    dbias_ = sum(oracle_.backward_bias(dy_), bias_);
  }

  /// x_place and y_place: placements of the side of the input and of the output.
  void run(const Placement& x_place, const Placement& y_place) const {
    SCOPED_TRACE(::testing::Message()
                 << case_ << " halo " << x_place.halo << ' ' << y_place.halo << " channels before "
                 << x_place.channels_before << ' ' << y_place.channels_before);
    const auto &xe = oracle_.x(), &ye = oracle_.y();
    const Activation<float> x(device_, xe.n, xe.d, xe.h, xe.w, xe.c, x_, x_place),
        dy(device_, ye.n, ye.d, ye.h, ye.w, ye.c, dy_, y_place);
    const Activation<float> y(device_, ye.n, ye.d, ye.h, ye.w, ye.c, y_place),
        dx(device_, xe.n, xe.d, xe.h, xe.w, xe.c, x_place);
    const Buffer<float> weight(device_, weight_), bias(device_, bias_);

    kernels::conv3d_forward(y, x, weight.data(), bias.data(), case_.params, exec_);
    EXPECT_TRUE(close(y.get(), y_with_bias_, oracle_.forward_length()));
    kernels::conv3d_forward(y, x, weight.data(), nullptr, case_.params, exec_);
    EXPECT_TRUE(close(y.get(), y_without_bias_, oracle_.forward_length()));
    kernels::conv3d_backward_input(dx, dy, weight.data(), case_.params, exec_);
    EXPECT_TRUE(close(dx.get(), dx_, oracle_.backward_input_length()));
    const Activation<float> added(device_, xe.n, xe.d, xe.h, xe.w, xe.c, x_, x_place);
    kernels::conv3d_add_backward_input(added, dy, weight.data(), case_.params, exec_);
    EXPECT_TRUE(close(added.get(), sum(dx_, x_), oracle_.backward_input_length()));
    const Buffer<float> dweight(device_, weight_), dbias(device_, bias_);
    kernels::conv3d_backward_weight(dweight.data(), dy, x, case_.params, exec_);
    EXPECT_TRUE(close(dweight.get(), dweight_, oracle_.backward_weight_length()));
    kernels::conv3d_backward_bias(dbias.data(), dy, exec_);
    EXPECT_TRUE(close(dbias.get(), dbias_, oracle_.backward_weight_length()));
  }

 private:
  std::vector<float> data(int64_t count, uint32_t seed) const {
    return exact_ ? integers(count, seed) : uniform(count, seed);
  }
  ::testing::AssertionResult close(const std::vector<float>& actual, const std::vector<double>& expected,
                                   int64_t length) const {
    return all_close(actual, expected, exact_ ? 0 : growth_ * float_tolerance(length + 1), exact_ ? 0 : 1e-6);
  }
  static std::vector<double> sum(std::vector<double> a, const std::vector<float>& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] += static_cast<double>(b[i]);
    return a;
  }

  Conv3dCase case_;
  DeviceKind device_;
  kernels::Exec exec_;
  bool exact_;
  double growth_;
  ConvOracle oracle_;
  std::vector<float> x_, dy_, weight_, bias_;
  std::vector<double> y_with_bias_, y_without_bias_, dx_, dweight_, dbias_;
};

}  // namespace vg::test
