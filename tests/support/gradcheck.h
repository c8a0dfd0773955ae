// Gradients of the tape against finite differences.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "engine/autograd.h"
#include "support/compare.h"
#include "support/random_data.h"

namespace vg::test {

/// An activation from values in memory order N, D, H, W, C.
inline Tensor activation_from(const Shape& shape, const std::vector<float>& values, Device device) {
  const Tensor t =
      Tensor::activation(shape.at(0), shape.at(1), shape.at(2), shape.at(3), shape.at(4), Device::cpu);
  const View<float> view = t.view();
  size_t next = 0;
  for (int64_t row = 0; row < view.rows(); ++row) {
    for (int64_t x = 0; x < view.w; ++x) {
      for (int64_t c = 0; c < view.c; ++c) view.row(row)[x * view.stride_w + c] = values.at(next++);
    }
  }
  return t.to(device);
}

/// Uniform in [low, high), requiring a gradient.
inline Tensor random_activation(const Shape& shape, uint32_t seed, Device device, float low = -1,
                                float high = 1) {
  return activation_from(shape, uniform(product(shape), seed, low, high), device).set_requires_grad(true);
}
inline Tensor random_parameter(const Shape& shape, uint32_t seed, Device device, float low = -1,
                               float high = 1) {
  return Tensor::from_values(shape, uniform(product(shape), seed, low, high), device).set_requires_grad(true);
}
/// Class indices, a uint8 activation with one channel.
inline Tensor random_labels(const Shape& shape, uint32_t seed, int classes, Device device) {
  const Tensor t = Tensor::activation(shape.at(0), shape.at(1), shape.at(2), shape.at(3), shape.at(4),
                                      Device::cpu, DType::uint8);
  const std::vector<uint8_t> values = labels(t.elements(), seed, classes);
  std::copy(values.begin(), values.end(), t.data<uint8_t>());
  return t.to(device);
}

/// Overwrites the values, in row-major order of the shape.
inline void set_values(const Tensor& tensor, const std::vector<float>& values) {
  tensor.copy_from(tensor.is_activation() ? activation_from(tensor.shape(), values, Device::cpu)
                                          : Tensor::from_values(tensor.shape(), values));
}

/// Hands a given gradient to its input.
class WeightedSumNode : public Node {
 public:
  explicit WeightedSumNode(Tensor weights) : weights_(std::move(weights)) {}
  const char* name() const override { return "weighted_sum"; }
  void backward(const Tensor&) override { pass(0, weights_); }

 private:
  Tensor weights_;
};

/// A tensor of one element whose backward() sends `weights` (in the order of y.values()) into y. Its value is
/// not computed.
inline Tensor weighted_sum(const Tensor& y, const std::vector<float>& weights) {
  const Tensor w = Tensor::empty_like(y);
  set_values(w, weights);
  return record<WeightedSumNode>(Tensor::zeros({1}, DType::float32, y.device()), {y}, w);
}

struct GradientCheck {
  float step = 1e-2f;       ///< of the finite differences
  double tolerance = 2e-3;  ///< relative to the largest gradient of an input, or absolute if that is below 1
  int64_t most_elements = 64;  ///< checked per input, spread evenly
  uint32_t seed = 77;          ///< of the gradient of the output
};

/// Runs f forward and backward and checks the gradient of each input that requires one against central
/// differences of f in float, summed in double. f must be the same function at every call.
inline void check_gradients(const std::function<Tensor(const std::vector<Tensor>&)>& f,
                            const std::vector<Tensor>& inputs, const GradientCheck& options = {}) {
  for (const Tensor& input : inputs) {
    if (input.requires_grad()) input.set_grad({});
  }
  const Tensor y = f(inputs);
  const std::vector<float> weights = uniform(y.elements(), options.seed);
  weighted_sum(y, weights).backward();
  const auto loss = [&] {
    const NoGradGuard guard;
    const std::vector<float> values = f(inputs).values();
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += double{values[i]} * double{weights[i]};
    return sum;
  };
  for (size_t k = 0; k < inputs.size(); ++k) {
    const Tensor& input = inputs[k];
    if (!input.requires_grad()) continue;
    ASSERT_TRUE(input.grad().defined()) << "input " << k << " got no gradient";
    const std::vector<float> gradient = input.grad().values(), values = input.values();
    const int64_t count = std::min(options.most_elements, input.elements());
    std::vector<double> expected, actual;
    double largest = 1;
    for (int64_t j = 0; j < count; ++j) {
      const auto i = static_cast<size_t>(input.elements() * j / count);
      std::vector<float> moved = values;
      moved[i] = values[i] + options.step;
      const double up = moved[i];
      set_values(input, moved);
      const double loss_up = loss();
      moved[i] = values[i] - options.step;
      const double down = moved[i];
      set_values(input, moved);
      expected.push_back((loss_up - loss()) / (up - down));
      actual.push_back(gradient[i]);
      largest = std::max(largest, std::abs(expected.back()));
    }
    set_values(input, values);
    EXPECT_TRUE(all_close(actual, expected, options.tolerance * largest)) << "gradient of input " << k;
  }
}

}  // namespace vg::test
