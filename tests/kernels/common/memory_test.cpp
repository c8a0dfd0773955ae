#include "kernels/common/memory.h"

#include <vector>

#include "support/devices.h"

namespace vg::test {
namespace {

using namespace vg::kernels;

class MemoryTest : public ::testing::TestWithParam<DeviceKind> {};
VG_ON_EVERY_DEVICE(MemoryTest);

TEST_P(MemoryTest, CopiesToWithinAndFromTheDevice) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{1000}, (size_t{3} << 20) + 5}) {
    std::vector<unsigned char> values(bytes), result(bytes);
    for (size_t i = 0; i < bytes; ++i) values[i] = static_cast<unsigned char>(i * 31 + 7);
    // cudaMalloc(0) gives null, which is fine: nothing is copied.
    void* const a = allocate_device_memory(GetParam(), bytes);
    void* const b = allocate_device_memory(GetParam(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a) % allocation_alignment, 0u);
    copy_memory(a, GetParam(), values.data(), DeviceKind::cpu, bytes, nullptr);
    copy_memory(b, GetParam(), a, GetParam(), bytes, nullptr);
    copy_memory(result.data(), DeviceKind::cpu, b, GetParam(), bytes, nullptr);
    EXPECT_EQ(result, values);
    free_device_memory(GetParam(), a, bytes);
    free_device_memory(GetParam(), b, bytes);
  }
}

}  // namespace
}  // namespace vg::test
