#include <gtest/gtest.h>

#include <resample3d/gather_backward.h>
#include <algorithm>
#include <cmath>
#include <vector>

namespace exercise::resample3d {
namespace {

void check(int64_t inputs, int64_t outputs) {
  SCOPED_TRACE(testing::Message() << inputs << " inputs, " << outputs << " outputs");
  std::vector<double> dy(static_cast<size_t>(outputs)), expected(static_cast<size_t>(inputs)), dx = expected;
  std::vector<int> stores(static_cast<size_t>(inputs));
  for (int64_t o = 0; o < outputs; ++o) {
    double& value = dy[static_cast<size_t>(o)] = static_cast<double>(o * o % 11 - 5);
    const double scale = static_cast<double>(inputs) / static_cast<double>(outputs);
    const double s = std::max(0.0, scale * (static_cast<double>(o) + 0.5) - 0.5), low = std::floor(s);
    const auto i0 = static_cast<size_t>(low);
    expected[i0] += value * (1 - (s - low));
    expected[std::min(i0 + 1, static_cast<size_t>(inputs - 1))] += value * (s - low);
  }
  const auto store = [&](int64_t i, double value) {
    ASSERT_TRUE(i >= 0 && i < inputs) << "input " << i << " does not exist";
    ++stores[static_cast<size_t>(i)];
    dx[static_cast<size_t>(i)] = value;
  };
  gather_backward(store, dy.data(), inputs, outputs);
  for (size_t i = 0; i < dx.size(); ++i) {
    EXPECT_EQ(stores[i], 1) << "input " << i << " is to be stored exactly once";
    EXPECT_NEAR(dx[i], expected[i], 1e-9) << "input " << i;
  }
}

TEST(Resample3dGatherBackward, AgreesWithScattering) {
  for (const int64_t inputs : {1, 2, 3, 5, 8, 17}) {
    for (const int64_t outputs : {1, 2, 3, 6, 10, 16, 34, 51}) check(inputs, outputs);
  }
}

}  // namespace
}  // namespace exercise::resample3d
