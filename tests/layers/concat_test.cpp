#include "layers/concat.h"

#include "layers/activation.h"
#include "layers/elementwise.h"
#include "layers/norm3d.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using ConcatTest = DeviceTest;
VG_ON_EVERY_DEVICE(ConcatTest);

TEST_P(ConcatTest, Values) {
  const Tensor a = activation_from({1, 1, 1, 2, 2}, {1, 2, 3, 4}, device());
  const Tensor b = activation_from({1, 1, 1, 2, 1}, {5, 6}, device());
  EXPECT_EQ(concat({a, b, a}).values(), (std::vector<float>{1, 2, 5, 1, 2, 3, 4, 6, 3, 4}));
  EXPECT_EQ(concat({b}).values(), b.values());
}

TEST_P(ConcatTest, Gradients) {
  const GradientCheck few{.most_elements = 12};
  const Tensor a = random_activation({2, 1, 2, 3, 2}, 1, device());
  const Tensor b = random_activation({2, 1, 2, 3, 3}, 2, device());
  check_gradients([](const auto& in) { return concat(in); }, {a, b, a}, few);
  check_gradients([](const auto& in) { return concat(in); }, {a.detach(), b}, few);
  // The gradients are slices of one buffer; the ops before must not write into one another's.
  check_gradients(
      [](const auto& in) {
        return concat({scale(in[0], 2), scale(in[1], 3), scale(in[0], 5)});
      },
      {a, b}, few);
}

TEST_P(ConcatTest, NeighbouringSlicesAreNotCopied) {
  const Tensor both = random_activation({1, 2, 2, 3, 5}, 1, device());
  const Tensor a = both.channels(1, 3), b = both.channels(3, 5);
  const Tensor joined = concat({a, b}), swapped = concat({b, a}), twice = concat({a, a});
  EXPECT_EQ(joined.data<float>(), a.data<float>());
  EXPECT_EQ(joined.values(), both.channels(1, 5).values());
  EXPECT_NE(swapped.data<float>(), b.data<float>());
  EXPECT_EQ(swapped.channels(0, 2).values(), b.values());
  EXPECT_EQ(twice.channels(2, 4).values(), a.values());
  EXPECT_NE(concat({a, b.clone()}).data<float>(), a.data<float>());
  const Tensor other = random_activation({1, 2, 2, 3, 5}, 2, device()).channels(3, 5);  // as if beside a
  EXPECT_EQ(concat({a, other}).channels(2, 4).values(), other.values());
}

TEST_P(ConcatTest, GradientsOfNeighbours) {
  // Two operations write into slices of one activation, as the network's do.
  const Tensor a = random_activation({1, 2, 2, 3, 2}, 1, device());
  const Tensor b = random_activation({1, 2, 2, 3, 3}, 2, device());
  check_gradients(
      [&](const auto& in) {
        const Tensor both = Tensor::activation_like(in[0], 5);
        const auto normalised = [&](const Tensor& x, int64_t begin) {
          return batch_norm(x, {}, {}, {}, {}, {}, {.into = both.channels(begin, begin + x.size(4))});
        };
        return concat({normalised(in[0], 0), normalised(in[1], 2)});
      },
      {a, b});
}

TEST_P(ConcatTest, LeafGradientsDoNotKeepTheWholeBuffer) {
  const Tensor a = random_activation({1, 2, 2, 2, 1}, 1, device());
  const Tensor b = random_activation({1, 2, 2, 2, 63}, 2, device());
  weighted_sum(concat({a, b}), std::vector<float>(512, 1)).backward();
  EXPECT_EQ(a.grad().view().stride_w, 1);
  EXPECT_EQ(a.grad().values(), std::vector<float>(8, 1));
}

TEST_P(ConcatTest, ShapesMustAgree) {
  EXPECT_THROW(concat({}), std::invalid_argument);
  EXPECT_THROW(concat({random_activation({1, 1, 1, 2, 2}, 1, device()),
                       random_activation({1, 1, 2, 2, 2}, 1, device())}),
               std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
