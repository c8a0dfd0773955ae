#include "engine/transfer.h"

#include <gtest/gtest.h>

#include "support/devices.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using TransferTest = DeviceTest;
VG_ON_EVERY_DEVICE(TransferTest);

TEST_P(TransferTest, ScalarsComeInTheirOrder) {
  ScalarQueue queue;
  const Tensor value = Tensor::full({1}, 0, device());
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 4; ++i) {
      value.fill(static_cast<float>(10 * round + i));  // the queue must have the value of its time
      queue.push(value);
    }
    EXPECT_EQ(queue.size(), 4u);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(queue.pop(), static_cast<float>(10 * round + i));
  }
  EXPECT_THROW(queue.pop(), std::logic_error);
  EXPECT_THROW(queue.push(Tensor::full({2}, 0, device())), std::invalid_argument);
}

TEST_P(TransferTest, BatchesArriveWhole) {
  Uploader uploader(device());
  for (const int64_t count : {100, 1000, 7, 5000, 5000, 3}) {  // buffers grow, and are used again
    const std::vector<float> values = uniform(count, static_cast<uint32_t>(count));
    const std::vector<uint8_t> labels(static_cast<size_t>(count), static_cast<uint8_t>(count));
    const Tensor x = Tensor::empty({count}, DType::float32, device()),
                 y = Tensor::empty({count}, DType::uint8, device());
    {
      Uploader::Batch batch(uploader, static_cast<size_t>(count) * 5 + Uploader::part_alignment);
      const kernels::Exec exec = Context::get().exec(device());
      // Both are there before either is read: parts of a batch must not overlap.
      const float* const values_there = batch.add(values);
      const uint8_t* const labels_there = batch.add(labels);
      kernels::copy_memory(x.data<float>(), device(), values_there, device(), static_cast<size_t>(count) * 4,
                           exec.stream);
      kernels::copy_memory(y.data<uint8_t>(), device(), labels_there, device(), static_cast<size_t>(count),
                           exec.stream);
      EXPECT_EQ(batch.add(std::vector<float>()), nullptr);
    }
    EXPECT_EQ(x.values(), values);
    EXPECT_EQ(y.values<uint8_t>(), labels);
  }
}

}  // namespace
}  // namespace vg::test
