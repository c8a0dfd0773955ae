#include "layers/folded_conv3d.h"

#include "engine/memory_plan.h"
#include "support/compare.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

/// A norm as training leaves it: nothing at its initial value.
void set_norm(const BatchNorm3d& norm, int64_t channels) {
  norm.weight().copy_from(Tensor::from_values({channels}, uniform(channels, 11, 0.5f, 2)));
  norm.bias().copy_from(Tensor::from_values({channels}, uniform(channels, 12)));
  norm.running_mean().copy_from(Tensor::from_values({channels}, uniform(channels, 13)));
  norm.running_var().copy_from(Tensor::from_values({channels}, uniform(channels, 14, 0.25f, 4)));
}

template <class Module>
void set_weights(const Module& module) {
  module.weight().copy_from(
      Tensor::from_values(module.weight().shape(), uniform(module.weight().elements(), 15)));
  module.bias().copy_from(Tensor::from_values(module.bias().shape(), uniform(module.bias().elements(), 16)));
}

FusedActivation prelu() {
  return {{.kind = ActivationKind::prelu}, Tensor::full({1}, 0.25f)};
}

TEST(FoldedConv3d, EqualsConvolutionNormAndActivation) {
  const NoGradGuard no_grad;
  const Tensor x = random_activation({2, 4, 4, 6, 16}, 1, Device::cpu);
  BatchNorm3d norm(24);
  norm.train(false);
  set_norm(norm, 24);
  for (const int stride : {1, 2}) {
    const Conv3d convolution({.in_channels = 16, .out_channels = 24, .stride = stride});
    set_weights(convolution);
    for (const FusedActivation& activation :
         {FusedActivation{}, FusedActivation{{.kind = ActivationKind::relu}}, prelu()}) {
      const FoldedConv3d folded(convolution, &norm, activation);
      const Tensor expected = norm(convolution(x), activation);
      for (int call = 0; call < 2; ++call)  // packs, and uses what it has packed
        EXPECT_TRUE(all_close(folded(x).values(), expected.values(), 4 * float_tolerance(27 * 16)));
      // Into a channel slice, beside which nothing changes.
      const Tensor both = Tensor::activation_like(expected, 40);
      both.fill(7);
      const Tensor into = both.channels(16, 40);
      folded(x, into);
      EXPECT_EQ(into.values(), folded(x).values());
      EXPECT_EQ(both.channels(0, 16).values(),
                std::vector<float>(static_cast<size_t>(both.channels(0, 16).elements()), 7));
    }
    const FoldedConv3d without_norm(convolution, nullptr, {});
    EXPECT_EQ(without_norm(x).values(), convolution(x).values());
  }
}

TEST(FoldedConv3d, TransposedEqualsConvolutionNormAndActivation) {
  const NoGradGuard no_grad;
  const Tensor x = random_activation({1, 2, 3, 5, 16}, 1, Device::cpu);
  BatchNorm3d norm(8);
  norm.train(false);
  set_norm(norm, 8);
  const ConvTranspose3d convolution({.in_channels = 16, .out_channels = 8});
  set_weights(convolution);
  const FoldedConv3d folded(convolution, &norm, prelu());
  EXPECT_TRUE(
      all_close(folded(x).values(), norm(convolution(x), prelu()).values(), 4 * float_tolerance(27 * 16)));
}

TEST(FoldedConv3d, PacksAnewForOtherExtents) {
  const NoGradGuard no_grad;
  const Conv3d convolution({.in_channels = 16, .out_channels = 16});
  set_weights(convolution);
  const FoldedConv3d folded(convolution, nullptr, {});
  // Tiles of 4x4, of 2x2, none, and the first again.
  for (const Shape& shape :
       {Shape{1, 4, 4, 16, 16}, Shape{1, 10, 6, 5, 16}, Shape{1, 3, 5, 7, 16}, Shape{1, 4, 4, 16, 16}}) {
    const Tensor x = random_activation(shape, 1, Device::cpu);
    EXPECT_EQ(folded(x).values(), convolution(x).values());
  }
}

TEST(FoldedConv3d, APlanLeavesNothingBehind) {
  const NoGradGuard no_grad;
  const Conv3d convolution({.in_channels = 16, .out_channels = 16});
  set_weights(convolution);
  const FoldedConv3d folded(convolution, nullptr, {});
  const MemoryPlan plan(Device::cpu, [&] { folded(Tensor::activation(1, 4, 4, 16, 16, Device::cpu)); });
  const Tensor x = random_activation({1, 4, 4, 16, 16}, 1, Device::cpu);
  EXPECT_EQ(folded(x).values(), convolution(x).values());
}

TEST(FoldedConv3d, DoesNotSeeLaterChanges) {
  const NoGradGuard no_grad;
  const Tensor x = random_activation({1, 3, 3, 3, 4}, 1, Device::cpu);
  const Conv3d convolution({.in_channels = 4, .out_channels = 4});
  set_weights(convolution);
  const FoldedConv3d folded(convolution, nullptr, {});
  const std::vector<float> before = folded(x).values();
  convolution.weight().fill(0);
  convolution.bias().fill(0);
  EXPECT_EQ(folded(x).values(), before);
}

TEST(FoldedConv3d, TakesASlopeForEachChannelAndKeepsIt) {
  const NoGradGuard no_grad;
  const Tensor x = random_activation({1, 3, 3, 3, 4}, 1, Device::cpu);
  const std::vector<float> slopes = uniform(8, 17, -1, 1);
  BatchNorm3d norm(8);
  norm.train(false);
  set_norm(norm, 8);
  const auto check = [&](const auto& convolution) {
    set_weights(convolution);
    const FusedActivation activation{{.kind = ActivationKind::prelu}, Tensor::from_values({8}, slopes)};
    const FoldedConv3d folded(convolution, &norm, activation);
    const std::vector<float> expected = norm(convolution(x), activation).values();
    activation.slope.fill(0);
    EXPECT_TRUE(all_close(folded(x).values(), expected, 4 * float_tolerance(27 * 4)));
  };
  check(Conv3d({.in_channels = 4, .out_channels = 8}));
  check(ConvTranspose3d({.in_channels = 4, .out_channels = 8}));
}

}  // namespace
}  // namespace vg::test
