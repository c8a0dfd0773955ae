#include "kernels/augment/volumes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/error_message.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using VolumesTest = DeviceTest;
VG_ON_EVERY_DEVICE(VolumesTest);

TEST_P(VolumesTest, StatisticsOfEachVolume) {
  const int64_t shapes[][4] = {{1, 1, 1, 1},  {3, 2, 3, 5},    {2, 1, 7, 17},
                               {1, 3, 5, 33}, {1, 1, 1, 3000}, {2, 20, 30, 40}};
  for (const auto& [n, d, h, w] : shapes) {
    for (const int halo : {0, 1}) {
      // Whole numbers with an offset, so that a zero that is none of the voxels would show as the minimum.
      std::vector<float> values = integers(n * d * h * w, 5, 100);
      for (float& v : values) v += 101;
      Activation<float> x(device(), n, d, h, w, 1, values, {halo, 0, 0});
      for_each_instruction_set(device(), [&] {
        const auto statistics = volume_statistics(x, exec());
        ASSERT_EQ(static_cast<int64_t>(statistics.size()), n);
        for (int64_t i = 0; i < n; ++i) {
          const auto begin = values.begin() + i * d * h * w, end = begin + d * h * w;
          EXPECT_EQ(statistics[static_cast<size_t>(i)].minimum, *std::min_element(begin, end));
          EXPECT_EQ(statistics[static_cast<size_t>(i)].sum, std::accumulate(begin, end, 0.0));
        }
      });
    }
  }
}

TEST_P(VolumesTest, SumOfManyVoxelsIsAccurate) {
  const auto values = uniform(64 * 1024, 3, 0, 1000);
  const double expected = std::accumulate(values.begin(), values.end(), 0.0);
  Activation<float> x(device(), 1, 8, 64, 128, 1, values);
  for_each_instruction_set(device(),
                           [&] { EXPECT_NEAR(volume_statistics(x, exec())[0].sum / expected, 1, 1e-7); });
}

TEST(VolumesThreads, SameBitsForAnyNumberOfThreads) {
  Activation<float> x(DeviceKind::cpu, 2, 13, 40, 50, 1, uniform(2 * 13 * 40 * 50, 1));
  expect_thread_independent([&] {
    Workspace workspace(DeviceKind::cpu);
    std::vector<double> result;
    for (const auto& s : volume_statistics(x, {DeviceKind::cpu, nullptr, &workspace}))
      result.push_back(s.sum), result.push_back(static_cast<double>(s.minimum));
    return result;
  });
}

TEST(VolumesErrors, SayWhatIsWrong) {
  Activation<float> x(DeviceKind::cpu, 1, 2, 3, 4, 1), channels(DeviceKind::cpu, 1, 2, 3, 4, 2),
      apart(DeviceKind::cpu, 1, 2, 3, 4, 1, Placement{0, 1, 0}), smaller(DeviceKind::cpu, 1, 2, 3, 3, 1);
  const auto check = [](const View<float>& y, const View<const float>& in) {
    return message_of([&] { check_volumes("blur", y, in); });
  };
  EXPECT_EQ(check(x, x), "nothing thrown");
  EXPECT_EQ(check(channels, x), "blur: the output has 2 channels, expected 1");
  EXPECT_EQ(check(x, apart), "blur: neighbours along W of the input lie 2 elements apart, expected 1");
  EXPECT_EQ(check(smaller, x), "blur: shapes differ: [1,2,3,3,1] and [1,2,3,4,1]");
  View<float> empty = x;
  empty.d = 0;
  EXPECT_EQ(check(x, empty), "blur: the input is [1,0,3,4,1], expected at least one voxel");
}

}  // namespace
}  // namespace vg::test
