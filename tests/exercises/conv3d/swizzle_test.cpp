#include <conv3d/swizzle.h>
#include <gtest/gtest.h>

#include <array>
#include <set>

namespace exercise::conv3d {
namespace {

constexpr int voxels = 34;  // 32 outputs and one voxel around them

class Conv3dSwizzle : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Chunks, Conv3dSwizzle, ::testing::Values(2, 4, 8));

TEST_P(Conv3dSwizzle, EachVoxelKeepsToItsOwnSlots) {
  const int chunks = GetParam();
  for (int w = 0; w < voxels; ++w) {
    std::set<int> slots;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int s = slot(w, chunk, chunks);
      EXPECT_TRUE(s >= w * chunks && s < (w + 1) * chunks)
          << "voxel " << w << " of " << chunks << " chunks owns slots " << w * chunks << " to "
          << (w + 1) * chunks - 1 << ", chunk " << chunk << " is at " << s;
      EXPECT_TRUE(slots.insert(s).second) << "voxel " << w << ": two chunks at slot " << s;
    }
  }
}

TEST_P(Conv3dSwizzle, EightNeighboursAreFreeOfBankConflicts) {
  const int chunks = GetParam();
  int wavefronts = 0, reads = 0;
  for (int first = 0; first + 8 <= voxels; ++first) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      std::array<int, 8> of_group{};
      for (int w = first; w < first + 8; ++w) ++of_group.at(static_cast<size_t>(slot(w, chunk, chunks) % 8));
      int most = 0;
      for (const int count : of_group) most = std::max(most, count);
      EXPECT_EQ(most, 1) << "chunk " << chunk << " of voxels " << first << " to " << first + 7 << ": " << most
                         << " of them lie in the same banks, so the read takes " << most << " turns";
      wavefronts += most;
      ++reads;
    }
  }
  EXPECT_EQ(wavefronts, reads) << "bank-conflict factor " << static_cast<double>(wavefronts) / reads;
}

}  // namespace
}  // namespace exercise::conv3d
