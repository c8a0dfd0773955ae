// The sums that contestants are checked against, themselves against the oracle of the kernels' tests.
#include "bench/conv_reference.h"

#include <gtest/gtest.h>

#include "bench/conv_layers.h"
#include "support/compare.h"
#include "support/conv_oracle.h"

namespace vg::bench {
namespace {

class ConvReferenceTest : public ::testing::TestWithParam<ConvLayer> {};

const ConvLayer layers[] = {{"plain", false, 3, 5, 4, 5, 6, 3, 1, {}, 2},
                            {"strided", false, 4, 3, 6, 5, 7, 3, 2, {}, 2},
                            {"pointwise", false, 5, 2, 3, 4, 5, 1, 1, {}, 2},
                            {"up", true, 4, 3, 3, 2, 4, 3, 2, {}, 2}};

INSTANTIATE_TEST_SUITE_P(Layers, ConvReferenceTest, ::testing::ValuesIn(layers),
                         [](const auto& layer) { return layer.param.name; });

test::ConvOracle oracle_of(const ConvLayer& l) {
  if (l.transposed)
    return {kernels::ConvTranspose3dParams{l.in, l.out, l.kernel_size, l.stride, l.padding(), l.padding()},
            l.batch, l.d, l.h, l.w};
  return {kernels::Conv3dParams{l.in, l.out, l.kernel_size, l.stride, l.padding()}, l.batch, l.d, l.h, l.w};
}

TEST_P(ConvReferenceTest, EveryElementOfEveryDirection) {
  const ConvLayer layer = GetParam();
  const test::ConvOracle oracle = oracle_of(layer);
  const auto x = exact_values(oracle.x().count(), 1), y = exact_values(oracle.y().count(), 2),
             weight = exact_values(oracle.weights(), 3);
  for (const std::string direction : {"fprop", "dgrad", "wgrad"}) {
    SCOPED_TRACE(direction);
    ConvTask task = conv_task(layer, direction);
    (layer.transposed ? task.small : task.large).data = x.data();
    (layer.transposed ? task.large : task.small).data = y.data();
    task.weights = weight.data();
    const std::vector<double> expected = direction == "fprop"   ? oracle.forward(x, weight, {})
                                         : direction == "dgrad" ? oracle.backward_input(y, weight)
                                                                : oracle.backward_weight(y, x);
    std::vector<double> actual(expected.size());
    for (size_t i = 0; i < actual.size(); ++i) actual[i] = conv_element(task, static_cast<int64_t>(i));
    EXPECT_TRUE(test::all_close(actual, expected, 0));

    std::vector<float> result(expected.begin(), expected.end());
    EXPECT_LE(conv_deviation(task, result, DType::float32).error, 1e-6);
    result.back() += 1;  // the last element is one of those looked at
    const Deviation wrong = conv_deviation(task, result, DType::float32);
    EXPECT_GT(wrong.error, wrong.bound);
    result.back() = NAN;
    const Deviation not_a_number = conv_deviation(task, result, DType::float32);
    EXPECT_FALSE(not_a_number.error <= not_a_number.bound);
  }
}

TEST(ExactValues, AreMultiplesOfAnEighthThatBfloat16Holds) {
  const std::vector<float> values = exact_values(1000, 1);
  double sum = 0;
  for (const float value : values) {
    EXPECT_EQ(8 * value, std::round(8 * value));
    EXPECT_LE(std::abs(value), 0.875f);
    sum += static_cast<double>(value);
  }
  EXPECT_LT(std::abs(sum), 50);
  EXPECT_NE(values, exact_values(1000, 2));
}

}  // namespace
}  // namespace vg::bench
