#include "engine/allocator.h"

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "support/devices.h"

#ifdef __SANITIZE_ADDRESS__
// Running out of memory must reach the allocator, not end the program.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
#endif

namespace vg::test {
namespace {

using AllocatorTest = DeviceTest;
VG_ON_EVERY_DEVICE(AllocatorTest);

TEST_P(AllocatorTest, MemoryGivenBackIsHandedOutAgain) {
  Allocator allocator(device());
  void* const first = allocator.allocate(100000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % kernels::allocation_alignment, 0u);
  allocator.release(first);
  EXPECT_EQ(allocator.allocate(99900), first);
  void* const second = allocator.allocate(100000);
  EXPECT_NE(second, first);
  EXPECT_EQ(allocator.statistics().system_allocations, 2);
  allocator.release(first);
  // A block much larger than needed stays for its own kind.
  void* const small = allocator.allocate(1000);
  EXPECT_NE(small, first);
  for (void* p : {second, small}) allocator.release(p);
}

TEST_P(AllocatorTest, LargeBlocksAreCutAndGrowTogetherAgain) {
  Allocator allocator(device());
  constexpr size_t mebi = size_t{1} << 20;
  auto* const whole = static_cast<char*>(allocator.allocate(16 * mebi));
  auto* const other = static_cast<char*>(allocator.allocate(6 * mebi));
  allocator.release(whole);
  auto* const a = static_cast<char*>(allocator.allocate(4 * mebi));
  auto* const b = static_cast<char*>(allocator.allocate(5 * mebi));  // three huge pages
  auto* const c = static_cast<char*>(allocator.allocate(6 * mebi));
  EXPECT_EQ(a, whole);
  EXPECT_EQ(b, whole + 4 * mebi);
  EXPECT_EQ(c, whole + 10 * mebi);
  EXPECT_EQ(allocator.statistics().bytes_in_use, 22 * mebi);
  EXPECT_EQ(allocator.statistics().bytes_reserved, 22 * mebi);
  allocator.trim();
  EXPECT_EQ(allocator.statistics().bytes_reserved, 22 * mebi) << "all is in use";
  // In any order; the middle one joins both neighbours. On the CPU the other allocation is a neighbour, too,
  // and the end of all can be given back by itself.
  const bool arena = device() == kernels::DeviceKind::cpu;
  allocator.release(a);
  allocator.release(c);
  allocator.release(other);
  allocator.trim();
  EXPECT_EQ(allocator.statistics().bytes_reserved, (arena ? 10 : 16) * mebi) << "a part of it is in use";
  allocator.release(b);
  EXPECT_EQ(allocator.allocate(16 * mebi), whole);
  EXPECT_EQ(allocator.statistics().system_allocations, arena ? 3 : 2);
  EXPECT_EQ(allocator.statistics().bytes_reserved, 16 * mebi);
  allocator.release(whole);
  allocator.trim();
  EXPECT_EQ(allocator.statistics().bytes_reserved, 0u);
}

TEST(Allocator, OnTheCpuAFreeEndIsMadeLonger) {
  constexpr size_t mebi = size_t{1} << 20;
  for (const bool planned : {true, false}) {
    Allocator allocator(kernels::DeviceKind::cpu, planned);
    auto* const first = static_cast<char*>(allocator.allocate(8 * mebi));
    auto* const second = static_cast<char*>(allocator.allocate(6 * mebi));
    EXPECT_EQ(second, first + 8 * mebi);
    allocator.release(second);
    EXPECT_EQ(allocator.allocate(10 * mebi), second);
    EXPECT_EQ(allocator.statistics().peak_bytes_reserved, 18 * mebi);
    allocator.release(first);
    allocator.release(second);
    EXPECT_EQ(allocator.allocate(20 * mebi), first);
    EXPECT_EQ(allocator.statistics().bytes_in_use, 20 * mebi);
    EXPECT_EQ(allocator.statistics().bytes_reserved, 20 * mebi);
    if (!planned) {
      first[0] = first[20 * mebi - 1] = 1;
      allocator.release(first);
      allocator.trim();
      EXPECT_EQ(allocator.allocate(2 * mebi), first);
      EXPECT_EQ(first[0], 0) << "what is trimmed goes back to the system";
    }
    allocator.release(first);
  }
}

TEST_P(AllocatorTest, StatisticsCountBytes) {
  Allocator allocator(device());
  void* const a = allocator.allocate(1000);
  void* const b = allocator.allocate(3000);
  const auto full = allocator.statistics();
  EXPECT_GE(full.bytes_in_use, 4000u);
  EXPECT_LT(full.bytes_in_use, 6000u);
  EXPECT_EQ(full.bytes_reserved, full.bytes_in_use);
  allocator.release(b);
  const auto after = allocator.statistics();
  EXPECT_GE(after.bytes_in_use, 1000u);
  EXPECT_LT(after.bytes_in_use, 2000u);
  EXPECT_EQ(after.peak_bytes_in_use, full.bytes_in_use);
  EXPECT_EQ(after.bytes_reserved, full.bytes_reserved);
  allocator.reset_peak();
  EXPECT_EQ(allocator.statistics().peak_bytes_in_use, after.bytes_in_use);
  allocator.trim();
  EXPECT_EQ(allocator.statistics().bytes_reserved, after.bytes_in_use);
  allocator.release(a);
  EXPECT_EQ(allocator.statistics().bytes_in_use, 0u);
  allocator.release(a);  // unknown by now: ignored
  EXPECT_EQ(allocator.statistics().bytes_in_use, 0u);
}

TEST_P(AllocatorTest, NothingIsAskedForInASteadyState) {
  Allocator allocator(device());
  const auto step = [&] {
    std::vector<void*> blocks;
    for (size_t bytes = 1; bytes < (size_t{1} << 22); bytes *= 3) blocks.push_back(allocator.allocate(bytes));
    for (void* p : blocks) allocator.release(p);
  };
  step();
  const int64_t after_first = allocator.statistics().system_allocations;
  for (int i = 0; i < 5; ++i) step();
  EXPECT_EQ(allocator.statistics().system_allocations, after_first);
}

TEST_P(AllocatorTest, OutOfMemoryNamesTheBytes) {
  Allocator allocator(device());
  void* const held = allocator.allocate(1000);
  void* const cached = allocator.allocate(5000);
  allocator.release(cached);
  const size_t huge = size_t{1} << 55;
  try {
    (void)allocator.allocate(huge);
    FAIL();
  } catch (const OutOfMemory& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(std::to_string(huge)), std::string::npos) << message;
    EXPECT_NE(message.find(std::to_string(allocator.statistics().bytes_in_use)), std::string::npos)
        << message;
  }
  // The cache was given up in the attempt; the allocator goes on working.
  EXPECT_EQ(allocator.statistics().bytes_reserved, allocator.statistics().bytes_in_use);
  allocator.release(allocator.allocate(1000));
  allocator.release(held);
}

TEST_P(AllocatorTest, ThreadsMayShareIt) {
  if (device() != kernels::DeviceKind::cpu) return;  // the lock is the same, and host memory can be written
  Allocator allocator(device());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&allocator, t] {
      for (size_t i = 1; i < 200; ++i) {
        auto* const p = static_cast<volatile unsigned char*>(allocator.allocate(i * 100));
        p[0] = static_cast<unsigned char>(t);
        p[i * 100 - 1] = static_cast<unsigned char>(t);
        ASSERT_EQ(p[0], t);
        allocator.release(const_cast<unsigned char*>(p));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(allocator.statistics().bytes_in_use, 0u);
}

}  // namespace
}  // namespace vg::test
