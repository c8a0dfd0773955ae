#include "kernels/reduce/reduce.h"

#include <cmath>
#include <limits>
#include <memory>

#include "kernels/conv3d/conv3d.h"
#include "support/bfloat16_cases.h"
#include "support/buffer.h"
#include "support/compare.h"
#include "support/devices.h"
#include "support/instruction_sets.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using ReduceTest = DeviceTest;
VG_ON_EVERY_DEVICE(ReduceTest);

struct Extents {
  int64_t n, d, h, w, c;
  int64_t count() const { return n * d * h * w * c; }
};
const Extents shapes[] = {{1, 1, 1, 1, 1},  {2, 3, 2, 5, 4},   {1, 2, 3, 7, 17},   {2, 1, 5, 17, 33},
                          {1, 3, 2, 5, 57}, {1, 1, 2, 3, 300}, {1, 1, 1, 40000, 1}};

std::vector<double> channel_oracle(const std::vector<float>& x, int64_t channels,
                                   const std::vector<float>& y) {
  std::vector<double> sums(y.begin(), y.end());
  for (size_t i = 0; i < x.size(); ++i) sums[i % static_cast<size_t>(channels)] += static_cast<double>(x[i]);
  return sums;
}

TEST_P(ReduceTest, SumsOfIntegersAreExactOnEveryPlacement) {
  for (const Extents& s : shapes) {
    for (const Placement& p : placements()) {
      const auto x = integers(s.count(), 1), start = integers(s.c, 2);
      Activation<float> view(device(), s.n, s.d, s.h, s.w, s.c, x, p);
      Buffer<float> sum(device(), 1), channels(device(), start);
      reduce_sum(sum.data(), view, exec());
      reduce_channels(channels.data(), view, exec());
      double expected = 0;
      for (float v : x) expected += static_cast<double>(v);
      EXPECT_EQ(static_cast<double>(sum.get()[0]), expected);
      EXPECT_TRUE(all_close(channels.get(), channel_oracle(x, s.c, start), 0));
    }
  }
}

// Large values that cancel: sums in float would lose the small ones.
TEST_P(ReduceTest, SumsAreTakenInDouble) {
  const int64_t w = 3000, c = 3;
  std::vector<float> x(static_cast<size_t>(w * c), 0.5f);
  for (size_t i = 0; i < 300; ++i) x[i] = 1e9f, x[x.size() - 1 - i] = -1e9f;
  Activation<float> view(device(), 1, 1, 1, w, c, x);
  Buffer<float> sum(device(), 1), channels(device(), std::vector<float>{1, 2, 3});
  reduce_sum(sum.data(), view, exec());
  reduce_channels(channels.data(), view, exec());
  EXPECT_EQ(sum.get(), std::vector<float>{4200});
  EXPECT_EQ(channels.get(), (std::vector<float>{1401, 1402, 1403}));
}

TEST_P(ReduceTest, EmptyViews) {
  Buffer<float> sum(device(), 1), channels(device(), std::vector<float>{1, 2});
  Buffer<int64_t> count(device(), 1);
  const View<const float> none = contiguous_view<const float>(sum.data(), 0, 2, 2, 2, 2);
  reduce_sum(sum.data(), none, exec());
  reduce_channels(channels.data(), none, exec());
  count_nonfinite(count.data(), none, exec());
  EXPECT_EQ(sum.get(), std::vector<float>{0});
  EXPECT_EQ(channels.get(), (std::vector<float>{1, 2}));
  EXPECT_EQ(count.get(), std::vector<int64_t>{0});
  global_norm(sum.data(), {}, exec());
  EXPECT_EQ(sum.get(), std::vector<float>{0});
}

TEST_P(ReduceTest, NonfiniteElementsAreCounted) {
  for (const Placement& p : placements()) {
    std::vector<float> x(2 * 3 * 5 * 7 * 9, 3e38f);
    const float special[] = {NAN, INFINITY, -INFINITY, -NAN};
    for (size_t i = 0; i < x.size(); i += 1 + i % 13) x[i] = special[i % 4];
    x.back() = std::numeric_limits<float>::denorm_min();
    int64_t expected = 0;
    for (float v : x) expected += !std::isfinite(v);
    ASSERT_GT(expected, 100);
    Activation<float> view(device(), 2, 3, 5, 7, 9, x, p);
    Buffer<int64_t> count(device(), 1);
    count_nonfinite(count.data(), view, exec());
    EXPECT_EQ(count.get(), std::vector<int64_t>{expected});
  }
}

struct Tensors {
  Tensors(DeviceKind device, const std::vector<int64_t>& counts) {
    for (const int64_t count : counts) {
      const auto x = uniform(count, static_cast<uint32_t>(buffers.size()));
      for (float v : x) squares += static_cast<double>(v) * static_cast<double>(v);
      buffers.push_back(std::make_unique<Buffer<float>>(device, x));
      list.push_back({buffers.back()->data(), count});
    }
  }
  std::vector<std::unique_ptr<Buffer<float>>> buffers;
  std::vector<FlatTensor> list;
  double squares = 0;
};

TEST_P(ReduceTest, GlobalNorm) {
  Tensors tensors(device(), {1, 4095, 0, 4096, 17, 33000, 0});
  Buffer<float> norm(device(), 1);
  global_norm(norm.data(), tensors.list, exec());
  EXPECT_TRUE(all_close(norm.get(), std::vector<double>{std::sqrt(tensors.squares)}, 0, 1e-7));
  tensors.buffers[3]->set(std::vector<float>(4096, 1e30f));  // whose squares are beyond float
  global_norm(norm.data(), tensors.list, exec());
  EXPECT_TRUE(all_close(norm.get(), std::vector<double>{64e30}, 0, 1e-7));
  for (const float bad : {NAN, INFINITY}) {
    tensors.buffers[4]->set({1, 2, bad});
    global_norm(norm.data(), tensors.list, exec());
    EXPECT_FALSE(std::isfinite(norm.get()[0]));
  }
}

// More tensors than one CUDA launch takes.
TEST_P(ReduceTest, GlobalNormOfManyTensors) {
  Buffer<float> data(device(), std::vector<float>(1100, 2.0f)), norm(device(), 1);
  std::vector<FlatTensor> tensors;
  for (int64_t i = 0; i < 1100; ++i) tensors.push_back({data.data() + i, 1});
  global_norm(norm.data(), tensors, exec());
  EXPECT_TRUE(all_close(norm.get(), std::vector<double>{2 * std::sqrt(1100.0)}, 0, 1e-7));
}

TEST_P(ReduceTest, ClipScale) {
  Buffer<float> norm(device(), 1), scale(device(), 1);
  const auto clip = [&](float value, float max_norm) {
    norm.set({value});
    clip_scale(scale.data(), norm.data(), max_norm, exec());
    return scale.get()[0];
  };
  EXPECT_EQ(clip(0, 1), 1);
  EXPECT_EQ(clip(0.5f, 1), 1);
  EXPECT_NEAR(clip(4, 1), 0.25, 1e-6);
  EXPECT_NEAR(clip(4, 12), 1, 0);
  EXPECT_EQ(clip(INFINITY, 1), 0);
  EXPECT_TRUE(std::isnan(clip(NAN, 1)));
}

TEST_P(ReduceTest, BadArgumentsAreErrors) {
  Buffer<float> out(device(), 2);
  EXPECT_THROW(global_norm(out.data(), std::vector<FlatTensor>{{nullptr, 3}}, exec()), std::invalid_argument);
  EXPECT_THROW(global_norm(out.data(), std::vector<FlatTensor>{{out.data(), -3}}, exec()),
               std::invalid_argument);
  EXPECT_THROW(clip_scale(out.data(), out.data() + 1, -1, exec()), std::invalid_argument);
  EXPECT_THROW(clip_scale(out.data(), out.data() + 1, NAN, exec()), std::invalid_argument);
}

TEST(Reduce, EveryInstructionSetAndThreadCount) {
  Workspace workspace(DeviceKind::cpu);
  const Exec exec{DeviceKind::cpu, nullptr, &workspace};
  const int64_t w = 6000, c = 37;
  const auto values = uniform(2 * w * c, 4);
  const Activation<float> x(DeviceKind::cpu, 1, 1, 2, w, c, values, {1, 2, 1});
  expect_thread_independent([&] {
    const std::vector<float> zeros(static_cast<size_t>(c), 0.0f);
    Buffer<float> sum(DeviceKind::cpu, 1), channels(DeviceKind::cpu, zeros), norm(DeviceKind::cpu, 1);
    reduce_sum(sum.data(), x, exec);
    reduce_channels(channels.data(), x, exec);
    global_norm(norm.data(), std::vector<FlatTensor>{{values.data(), 2 * w * c}}, exec);
    const auto expected = channel_oracle(values, c, zeros);
    double total = 0, squares = 0;
    for (double v : expected) total += v;
    for (float v : values) squares += static_cast<double>(v) * static_cast<double>(v);
    EXPECT_TRUE(all_close(channels.get(), expected, 1e-12, 1e-7));
    EXPECT_TRUE(all_close(sum.get(), std::vector<double>{total}, 1e-12, 1e-7));
    EXPECT_TRUE(all_close(norm.get(), std::vector<double>{std::sqrt(squares)}, 0, 1e-7));
    std::vector<float> all = channels.get();
    all.push_back(sum.get()[0]);
    all.push_back(norm.get()[0]);
    return all;
  });
}

// --- bfloat16 ----------------------------------------------------------------------------------------------

TEST(ReduceBfloat16, CpuRefuses) {
  Workspace workspace(DeviceKind::cpu);
  const Exec cpu{DeviceKind::cpu, nullptr, &workspace};
  const Activation<bfloat16> x(DeviceKind::cpu, 1, 1, 1, 2, 8);
  const Buffer<float> out(DeviceKind::cpu, 8);
  const Buffer<int64_t> count(DeviceKind::cpu, 1);
  EXPECT_THROW(reduce_sum(out.data(), x, cpu), std::invalid_argument);
  EXPECT_THROW(reduce_channels(out.data(), x, cpu), std::invalid_argument);
  EXPECT_THROW(count_nonfinite(count.data(), x, cpu), std::invalid_argument);
  EXPECT_THROW(conv3d_backward_bias(out.data(), x, cpu), std::invalid_argument);
}

using ReduceBfloat16Test = DeviceTest;
VG_ON_CUDA(ReduceBfloat16Test);

TEST_P(ReduceBfloat16Test, IntegersAreExactOnEveryPlacement) {
  for (const int64_t c : bfloat16_channels) {
    for (const Placement& p : bfloat16_placements(c)) {
      SCOPED_TRACE(testing::Message()
                   << c << " channels, halo " << p.halo << ", before " << p.channels_before);
      auto x = integers(2 * 3 * 5 * 7 * c, 1);
      const auto start = integers(c, 2);
      const Activation<bfloat16> view(device(), 2, 3, 5, 7, c, stored<bfloat16>(x), p);
      const Buffer<float> sum(device(), 1), channels(device(), start), bias(device(), start);
      const Buffer<int64_t> count(device(), 1);
      reduce_sum(sum.data(), view, exec());
      reduce_channels(channels.data(), view, exec());
      conv3d_backward_bias(bias.data(), view, exec());
      count_nonfinite(count.data(), view, exec());
      float expected = 0;
      for (const float v : x) expected += v;
      EXPECT_EQ(sum.get(), std::vector<float>{expected});
      EXPECT_TRUE(all_close(channels.get(), channel_oracle(x, c, start), 0));
      EXPECT_EQ(bias.get(), channels.get());
      EXPECT_EQ(count.get(), std::vector<int64_t>{0});
      x[x.size() / 2] = INFINITY, x.back() = NAN;
      const Activation<bfloat16> bad(device(), 2, 3, 5, 7, c, stored<bfloat16>(x), p);
      count_nonfinite(count.data(), bad, exec());
      EXPECT_EQ(count.get(), std::vector<int64_t>{2});
    }
  }
}

// Several blocks, and as many voxels a thread as are summed in float.
TEST_P(ReduceBfloat16Test, RandomFloatsOfLargeViews) {
  for (const int64_t c : {1, 3, 16}) {
    const int64_t voxels = 20000;
    const auto x = rounded<bfloat16>(uniform(voxels * c, 1)), start = uniform(c, 2);
    const Activation<bfloat16> view(device(), 1, 1, 1, voxels, c, stored<bfloat16>(x));
    const Buffer<float> sum(device(), 1), channels(device(), start);
    reduce_sum(sum.data(), view, exec());
    reduce_channels(channels.data(), view, exec());
    double expected = 0;
    for (const float v : x) expected += static_cast<double>(v);
    EXPECT_TRUE(all_close(sum.get(), std::vector<double>{expected}, float_tolerance(voxels * c)));
    EXPECT_TRUE(all_close(channels.get(), channel_oracle(x, c, start), float_tolerance(voxels)));
  }
}

}  // namespace
}  // namespace vg::test
