#include "kernels/common/workspace.h"

#include <vector>

#include "kernels/elementwise/elementwise.h"
#include "support/devices.h"

// Under AddressSanitizer an allocation that is too large shall fail as it does without.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}

namespace vg::test {
namespace {

using namespace vg::kernels;

class WorkspaceTest : public ::testing::TestWithParam<DeviceKind> {
 protected:
  // Writes `count` ints that start at `first`, and reads them back.
  void write(int* pointer, size_t count, int first) const {
    std::vector<int> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = first + static_cast<int>(i);
    copy_memory(pointer, GetParam(), values.data(), DeviceKind::cpu, count * sizeof(int), nullptr);
  }
  bool holds(const int* pointer, size_t count, int first) const {
    std::vector<int> values(count);
    copy_memory(values.data(), DeviceKind::cpu, pointer, GetParam(), count * sizeof(int), nullptr);
    for (size_t i = 0; i < count; ++i) {
      if (values[i] != first + static_cast<int>(i)) return false;
    }
    return true;
  }
};
VG_ON_EVERY_DEVICE(WorkspaceTest);

constexpr int64_t megabyte = int64_t{1} << 20;

TEST_P(WorkspaceTest, AllocationsAreAlignedAndApart) {
  Workspace workspace(GetParam());
  WorkspaceScope scope(workspace);
  std::vector<int*> pointers;
  for (size_t i = 0; i < 20; ++i) {
    int* const pointer = scope.allocate<int>(i);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pointer) % allocation_alignment, 0u);
    write(pointer, i, static_cast<int>(100 * i));
    pointers.push_back(pointer);
  }
  for (size_t i = 0; i < 20; ++i) EXPECT_TRUE(holds(pointers[i], i, static_cast<int>(100 * i)));
}

TEST_P(WorkspaceTest, MemoryOfAnEndedScopeIsUsedAgain) {
  Workspace workspace(GetParam());
  WorkspaceScope outer(workspace);
  int* const kept = outer.allocate<int>(10);
  write(kept, 10, 5);
  int* first = nullptr;
  for (int turn = 0; turn < 3; ++turn) {
    WorkspaceScope inner(workspace);
    int* const pointer = inner.allocate<int>(1000);
    write(pointer, 1000, turn);
    if (turn == 0) first = pointer;
    EXPECT_EQ(pointer, first);
  }
  EXPECT_TRUE(holds(kept, 10, 5));
}

// Growth must leave what was handed out where it is; a loop that grows once must not grow again.
TEST_P(WorkspaceTest, GrowsWithoutMovingAndThenStays) {
  Workspace workspace(GetParam());
  size_t reserved = 0;
  for (int turn = 0; turn < 4; ++turn) {
    WorkspaceScope outer(workspace);
    int* const small = outer.allocate<int>(1000);
    write(small, 1000, turn);
    for (int round = 0; round < 2; ++round) {
      WorkspaceScope inner(workspace);
      int* const large = inner.allocate<int>(2 * megabyte);
      write(large, 2 * megabyte, 7);
      EXPECT_TRUE(holds(small, 1000, turn));
    }
    int* const after = outer.allocate<int>(1000);
    write(after, 1000, -turn);
    EXPECT_TRUE(holds(small, 1000, turn));
    if (turn == 1) reserved = workspace.reserved_bytes();
    if (turn > 1) {
      EXPECT_EQ(workspace.reserved_bytes(), reserved);
    }
  }
  EXPECT_GE(reserved, 8 * megabyte);
  EXPECT_LE(reserved, 16 * megabyte);
}

// The end of a scope never allocates, since a destructor cannot report failure.
TEST_P(WorkspaceTest, TooLargeARequestIsAnErrorAndLeavesTheRestUsable) {
  Workspace workspace(GetParam());
  {
    WorkspaceScope scope(workspace);
    int* const small = scope.allocate<int>(1000);
    write(small, 1000, 3);
    EXPECT_ANY_THROW((void)scope.allocate<std::byte>(size_t{1} << 60));
    EXPECT_TRUE(holds(small, 1000, 3));
  }
  WorkspaceScope scope(workspace);
  float* const pointer = scope.allocate<float>(megabyte);
  // A kernel launch after the failed allocation must not report that failure again.
  fill(flat_view(pointer, megabyte), 2, Exec{GetParam(), nullptr, &workspace});
  float last = 0;
  copy_memory(&last, DeviceKind::cpu, pointer + megabyte - 1, GetParam(), sizeof last, nullptr);
  EXPECT_EQ(last, 2);
}

}  // namespace
}  // namespace vg::test
