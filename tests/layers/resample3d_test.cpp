#include "layers/resample3d.h"

#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using Resample3dLayerTest = DeviceTest;
VG_ON_EVERY_DEVICE(Resample3dLayerTest);

TEST_P(Resample3dLayerTest, Values) {
  const Tensor x = activation_from({1, 1, 1, 2, 1}, {1, 3}, device());
  EXPECT_EQ(resample3d(x, 1, 1, 4).values(), (std::vector<float>{1, 1.5f, 2.5f, 3}));
  EXPECT_EQ(resample3d(x, 1, 1, 3, {.align_corners = true}).values(), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(resample3d(x, 1, 1, 4, {.mode = ResampleMode::nearest}).values(),
            (std::vector<float>{1, 1, 3, 3}));
}

TEST_P(Resample3dLayerTest, Gradients) {
  const Tensor x = random_activation({2, 2, 3, 2, 3}, 1, device());
  for (const Resample3dParams& p : {Resample3dParams{}, Resample3dParams{.align_corners = true},
                                    Resample3dParams{.mode = ResampleMode::nearest}}) {
    check_gradients([&](const auto& in) { return resample3d(in[0], 4, 2, 3, p); }, {x},
                    {.most_elements = 16});
  }
}

TEST_P(Resample3dLayerTest, WrongArgumentsAreErrors) {
  const Tensor x = random_activation({1, 1, 1, 2, 1}, 1, device());
  EXPECT_THROW(resample3d(x, 0, 1, 1), std::invalid_argument);
  EXPECT_THROW(resample3d(random_parameter({3}, 1, device()), 1, 1, 1), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
