#include "engine/tensor.h"

#include <numeric>

#include "kernels/elementwise/elementwise.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using TensorTest = DeviceTest;
VG_ON_EVERY_DEVICE(TensorTest);

std::vector<float> counting(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

/// All floats of a halo of one voxel around a CPU activation, channels of wider buffers left out.
std::vector<float> halo_of(const Tensor& t) {
  const View<const float> v = t.view<const float>();
  std::vector<float> halo;
  for (int64_t n = 0; n < v.n; ++n) {
    for (int64_t d = -1; d <= v.d; ++d) {
      for (int64_t h = -1; h <= v.h; ++h) {
        for (int64_t w = -1; w <= v.w; ++w) {
          const bool inside = d >= 0 && d < v.d && h >= 0 && h < v.h && w >= 0 && w < v.w;
          for (int64_t c = 0; c < v.c && !inside; ++c) halo.push_back(v.at(n, d, h)[w * v.stride_w + c]);
        }
      }
    }
  }
  return halo;
}

TEST_P(TensorTest, ConstructionAndValues) {
  const Tensor zero = Tensor::zeros({2, 3}, DType::float32, device());
  EXPECT_EQ(zero.values(), std::vector<float>(6, 0));
  EXPECT_EQ(zero.elements(), 6);
  EXPECT_EQ(zero.size(1), 3);
  EXPECT_EQ(zero.device(), device());
  EXPECT_FALSE(zero.is_activation());
  EXPECT_EQ(Tensor::full({3}, 2.5f, device()).values(), std::vector<float>(3, 2.5f));
  EXPECT_EQ(Tensor::from_values<int64_t>({2}, {1, -5}, device()).values<int64_t>(),
            (std::vector<int64_t>{1, -5}));
  EXPECT_EQ(Tensor::zeros({5}, DType::uint8, device()).values<uint8_t>(), std::vector<uint8_t>(5, 0));
  EXPECT_EQ(Tensor::zeros({}, DType::int64, device()).elements(), 1);
  EXPECT_EQ(Tensor::zeros({0, 3}, DType::float32, device()).values(), std::vector<float>());
  EXPECT_FALSE(Tensor().defined());
}

TEST_P(TensorTest, ActivationsHaveAZeroHaloOnTheCpu) {
  const Tensor t = Tensor::activation(2, 2, 3, 4, 5, device());
  EXPECT_TRUE(t.is_activation());
  EXPECT_EQ(t.shape(), (Shape{2, 2, 3, 4, 5}));
  EXPECT_EQ(t.view().halo, device() == Device::cpu ? 1 : 0);
  if (device() != Device::cpu) return;
  // Fresh memory may be zero by chance: dirty some, so that the allocator hands it out again.
  { Tensor::empty({2 * 4 * 5 * 6 * 5}).fill(NAN); }
  const Tensor again = Tensor::activation(2, 2, 3, 4, 5, device());
  again.fill(7);
  for (const float v : halo_of(again)) ASSERT_EQ(v, 0);
  const Tensor copy = again.channels(1, 3).clone();
  EXPECT_EQ(copy.values(), std::vector<float>(96, 7));
  for (const float v : halo_of(copy)) ASSERT_EQ(v, 0);
}

TEST_P(TensorTest, NcdhwRoundTrip) {
  const std::vector<float> ncdhw = counting(2 * 3 * 2 * 1 * 4);
  const Tensor t = Tensor::activation_from_ncdhw(ncdhw, 2, 3, 2, 1, 4, device());
  EXPECT_EQ(t.shape(), (Shape{2, 2, 1, 4, 3}));
  EXPECT_EQ(t.values_ncdhw(), ncdhw);
  const std::vector<float> ndhwc = t.values();
  EXPECT_EQ(ndhwc[0], 1);
  EXPECT_EQ(ndhwc[1], 9);    // the next channel, 2 * 1 * 4 voxels on
  EXPECT_EQ(ndhwc[3], 2);    // the next voxel
  EXPECT_EQ(ndhwc[24], 25);  // the next sample
}

TEST_P(TensorTest, ChannelSlicesShareMemory) {
  const Tensor t = activation_from({1, 1, 2, 2, 3}, counting(12), device());
  const Tensor slice = t.channels(1, 3);
  EXPECT_EQ(slice.shape(), (Shape{1, 1, 2, 2, 2}));
  EXPECT_EQ(slice.values(), (std::vector<float>{2, 3, 5, 6, 8, 9, 11, 12}));
  slice.fill(0);
  EXPECT_EQ(t.values(), (std::vector<float>{1, 0, 0, 4, 0, 0, 7, 0, 0, 10, 0, 0}));
  slice.channels(1, 2).copy_from(activation_from({1, 1, 2, 2, 1}, {1, 2, 3, 4}, device()));
  EXPECT_EQ(t.values(), (std::vector<float>{1, 0, 1, 4, 0, 2, 7, 0, 3, 10, 0, 4}));
}

TEST_P(TensorTest, CopiesBetweenPlacesAndDevices) {
  const std::vector<float> values = counting(2 * 2 * 3 * 4 * 5);
  const Tensor host = activation_from({2, 2, 3, 4, 5}, values, Device::cpu);
  const Tensor there = host.to(device());
  EXPECT_EQ(there.device(), device());
  EXPECT_EQ(there.values(), values);
  EXPECT_EQ(there.to(Device::cpu).values(), values);
  const Tensor clone = there.clone();
  there.fill(0);
  EXPECT_EQ(clone.values(), values);

  // Between slices on both sides, in both directions.
  const Tensor from = activation_from({2, 2, 3, 4, 5}, values, Device::cpu).channels(1, 4);
  const Tensor wide = activation_from({2, 2, 3, 4, 5}, std::vector<float>(values.size(), -1), device());
  const Tensor to = wide.channels(2, 5);
  to.copy_from(from);
  EXPECT_EQ(to.values(), from.values());
  EXPECT_EQ(wide.channels(0, 2).values(), std::vector<float>(96, -1));
  const Tensor back = Tensor::activation(2, 2, 3, 4, 4, Device::cpu);
  back.fill(-2);
  back.channels(0, 3).copy_from(to);
  EXPECT_EQ(back.channels(0, 3).values(), from.values());
  EXPECT_EQ(back.channels(3, 4).values(), std::vector<float>(48, -2));
  if (back.view().halo == 1) {
    for (const float v : halo_of(back)) ASSERT_EQ(v, 0);
  }

  const Tensor flat = Tensor::from_values<float>({2, 2}, {1, 2, 3, 4}, device());
  EXPECT_EQ(flat.to(Device::cpu).values(), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(flat.clone().reshaped({4}).shape(), Shape{4});
}

TEST_P(TensorTest, LabelsAndBfloat16Travel) {
  const Tensor labels = random_labels({1, 2, 2, 2, 1}, 3, 4, device());
  EXPECT_EQ(labels.clone().values<uint8_t>(), labels.values<uint8_t>());
  EXPECT_EQ(labels.to(Device::cpu).values<uint8_t>(), labels.values<uint8_t>());
  const Tensor half = Tensor::activation(1, 2, 2, 2, 3, device(), DType::bfloat16);
  const Tensor full = activation_from({1, 2, 2, 2, 3}, counting(24), device());
  kernels::cast(half.view<bfloat16>(), full.view<const float>(), Context::get().exec(device()));
  const Tensor host = half.to(Device::cpu).clone();
  const std::vector<bfloat16> bits = host.values<bfloat16>();
  EXPECT_EQ(bits[0].bits, 0x3F80);  // 1
  EXPECT_EQ(bits[1].bits, 0x4000);  // 2
}

TEST_P(TensorTest, ItemIsTheOnlyElement) {
  EXPECT_EQ(Tensor::full({1}, 3, device()).item(), 3);
  EXPECT_EQ(Tensor::full({}, 3, device()).item(), 3);
  EXPECT_THROW((void)Tensor::full({2}, 3, device()).item(), std::invalid_argument);
}

TEST_P(TensorTest, MisuseIsAnError) {
  const Tensor flat = Tensor::zeros({4}, DType::float32, device());
  const Tensor activation = Tensor::activation(1, 1, 1, 2, 2, device());
  EXPECT_THROW((void)flat.data<uint8_t>(), std::logic_error);
  EXPECT_THROW((void)Tensor().data<float>(), std::logic_error);
  EXPECT_THROW((void)Tensor().device(), std::logic_error);
  EXPECT_THROW((void)flat.channels(0, 1), std::invalid_argument);
  EXPECT_THROW((void)activation.channels(1, 3), std::invalid_argument);
  EXPECT_THROW((void)activation.channels(1, 1), std::invalid_argument);
  EXPECT_THROW((void)activation.reshaped({4}), std::invalid_argument);
  EXPECT_THROW((void)flat.reshaped({5}), std::invalid_argument);
  EXPECT_THROW((void)flat.values_ncdhw(), std::invalid_argument);
  EXPECT_THROW((void)Tensor::activation_like(flat), std::invalid_argument);
  EXPECT_THROW(Tensor::from_values<float>({3}, {1, 2}, device()), std::invalid_argument);
  EXPECT_THROW(Tensor::activation_from_ncdhw({1, 2}, 1, 1, 1, 1, 3, device()), std::invalid_argument);
  try {
    flat.copy_from(Tensor::zeros({2, 2}, DType::float32, device()));
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("[2, 2]"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("[4]"), std::string::npos);
  }
}

}  // namespace
}  // namespace vg::test
