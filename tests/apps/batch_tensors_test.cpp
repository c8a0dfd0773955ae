// Samples become batches: interleaved, transformed on the device, the same on CPU and CUDA.
#include "apps/batch_tensors.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/devices.h"

namespace vg::apps {
namespace {

using test::DeviceTest;

std::shared_ptr<const data::Sample> sample(const std::string& id, std::array<int64_t, 3> extent,
                                           uint32_t seed) {
  data::Sample result;
  result.id = id;
  result.extent = extent;
  result.channels = 3;
  result.geometry = {extent, {{{1.5, 0, 0, -9}, {0, 1.25, 0.1, 4}, {0, 0, 2, -7}}}};
  const int64_t voxels = result.voxels();
  for (int64_t i = 0; i < 3 * voxels; ++i)
    result.image.push_back(static_cast<float>(1 + (i * 37 + seed) % 101) / 50 +
                           static_cast<float>(i / voxels));
  for (int64_t i = 0; i < voxels; ++i) result.labels.push_back(static_cast<uint8_t>((i / 5 + seed) % 4));
  return std::make_shared<const data::Sample>(std::move(result));
}

std::vector<data::AppliedTransform> drawn(const std::string& text, uint64_t seed) {
  data::Draws draws(seed, 0);
  return data::Augmentation::parse(text).draw(3, draws);
}

BatchTensors on_device(const Samples& samples, Device device,
                       std::span<const std::vector<data::AppliedTransform>> transforms = {},
                       DType precision = DType::float32) {
  Uploader uploader(device);
  return batch_tensors(samples, uploader, transforms, precision);
}

using BatchTensorsTest = DeviceTest;
VG_ON_EVERY_DEVICE(BatchTensorsTest);

TEST_P(BatchTensorsTest, ChannelsAreInterleavedAndLabelsCopied) {
  const auto a = sample("a", {3, 5, 4}, 0), b = sample("b", {3, 5, 4}, 9);
  const BatchTensors batch = on_device({a, b}, device());
  ASSERT_EQ(batch.images.shape(), (Shape{2, 3, 5, 4, 3}));
  const std::vector<float> planes = batch.images.values_ncdhw();
  EXPECT_EQ(std::vector<float>(planes.begin(), planes.begin() + 180), a->image);
  EXPECT_EQ(std::vector<float>(planes.begin() + 180, planes.end()), b->image);
  std::vector<uint8_t> labels = a->labels;
  labels.insert(labels.end(), b->labels.begin(), b->labels.end());
  EXPECT_EQ(batch.labels.values<uint8_t>(), labels);
}

TEST_P(BatchTensorsTest, EveryTransformIsTheSameOnEveryDevice) {
  const auto a = sample("a", {9, 11, 10}, 0), b = sample("b", {9, 11, 10}, 9);
  for (const data::TransformKind& kind : data::transform_kinds()) {
    const std::string text = "random_" + std::string(kind.name) + "()";
    const std::vector<std::vector<data::AppliedTransform>> transforms = {
        drawn(text, 3), drawn("random_gamma() flip(axes=1) " + text, 4)};
    const BatchTensors expected = on_device({a, b}, Device::cpu, transforms);
    const BatchTensors actual = on_device({a, b}, device(), transforms);
    const std::vector<float> x = expected.images.values(), y = actual.images.values();
    float largest = 0;
    for (const float value : x) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_TRUE(std::abs(x[i] - y[i]) <= 1e-5F * largest)
          << kind.name << " " << i << ": " << x[i] << " " << y[i];
    const std::vector<uint8_t> p = expected.labels.values<uint8_t>(), q = actual.labels.values<uint8_t>();
    EXPECT_EQ(p, q) << kind.name;
    EXPECT_NE(x, on_device({a, b}, Device::cpu).images.values()) << kind.name;
  }
}

TEST_P(BatchTensorsTest, Bfloat16IsTheFloatBatchRounded) {
  const auto a = sample("a", {3, 5, 4}, 0), b = sample("b", {3, 5, 4}, 9);
  const Tensor expected = on_device({a, b}, device()).images.to(DType::bfloat16);
  const Tensor actual = on_device({a, b}, device(), {}, DType::bfloat16).images;
  EXPECT_EQ(actual.dtype(), DType::bfloat16);
  EXPECT_EQ(actual.to(DType::float32).values(), expected.to(DType::float32).values());
}

TEST_P(BatchTensorsTest, SamplesOfOtherSizesAreNamed) {
  try {
    on_device({sample("a", {3, 5, 4}, 0), sample("other", {3, 5, 5}, 0)}, device());
    FAIL() << "nothing was thrown";
  } catch (const data::DataError& error) {
    EXPECT_NE(std::string(error.what()).find("other"), std::string::npos);
  }
}

}  // namespace
}  // namespace vg::apps
