#include "kernels/augment/spike.h"

#include "support/augment_test.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using SpikeTest = DeviceTest;
VG_ON_EVERY_DEVICE(SpikeTest);

// Adds maximum * intensity at one place of the centred spectrum after the other. Real parts that differ by
// rounding alone are a tie: those of S[k] and S[-k].
std::vector<double> with_spikes(const std::vector<float>& x, const Extents3& extent, const SpikeParams& p) {
  Complexes spectrum = spectrum_of(x, extent);
  for (const auto& position : p.positions) {
    std::complex<double> maximum = spectrum[0];
    for (const auto& value : spectrum) {
      const double difference = value.real() - maximum.real();
      if (difference > 1e-9 || (difference > -1e-9 && value.imag() > maximum.imag())) maximum = value;
    }
    Extents3 k{};
    for (size_t axis = 0; axis < 3; ++axis)
      k[axis] = static_cast<int64_t>(
          std::floor(static_cast<double>(position[axis]) * static_cast<double>(extent[axis])));
    spectrum[static_cast<size_t>((k[0] * extent[1] + k[1]) * extent[2] + k[2])] +=
        maximum * static_cast<double>(p.intensity);
  }
  return real_volume_of(spectrum, extent);
}

void expect_spikes(DeviceKind device, const Exec& exec, const Extents3& extent, const std::vector<float>& x,
                   const SpikeParams& p) {
  expect_transformed(device, exec, 1, extent, x, with_spikes(x, extent, p), 4e-6,
                     [&](auto y, auto in, const Exec& on) { spike(y, in, p, on); });
}

// The place of frequency 0 of this extent.
constexpr Extents3 shape{5, 6, 7};
constexpr std::array<float, 3> centre{0.5f, 0.5f, 0.5f};

TEST_P(SpikeTest, OneSpikeIsAPlaneWave) {
  const auto x = uniform(count_of(shape), 1, 0, 1);
  for (const auto& position : {std::array<float, 3>{0.1f, 0.7f, 0.99f}, {0.9f, 0.01f, 0.3f}, centre}) {
    expect_spikes(device(), exec(), shape, x, {{position}, 1});
    expect_spikes(device(), exec(), shape, x, {{position}, -0.7f});
  }
  for (const Extents3& thin : {Extents3{1, 1, 1}, Extents3{1, 4, 33}, Extents3{8, 1, 3}})
    expect_spikes(device(), exec(), thin, uniform(count_of(thin), 2, 0, 1), {{{0.2f, 0.9f, 0.6f}}, 1});
}

TEST_P(SpikeTest, MaximumOfVolumesWithNegativeVoxels) {
  for (const uint32_t seed : {1u, 2u, 3u, 4u})
    expect_spikes(device(), exec(), shape, uniform(count_of(shape), seed), {{{0.3f, 0.9f, 0.2f}}, 1.5f});
  expect_spikes(device(), exec(), shape, std::vector<float>(static_cast<size_t>(count_of(shape)), -2),
                {{{0.3f, 0.9f, 0.2f}}, 1});
}

TEST_P(SpikeTest, EachSpikeCountsForTheNextMaximum) {
  const std::array<float, 3> a{0.1f, 0.7f, 0.99f}, b{0.6f, 0.2f, 0.3f};
  for (const float low : {0.0f, -1.0f}) {
    const auto x = uniform(count_of(shape), 7, low, 1);
    expect_spikes(device(), exec(), shape, x, {{a, b, a}, 1});
    expect_spikes(device(), exec(), shape, x, {{centre, a, centre, b}, 0.5f});
    // The maximum itself is taken away, and the next one counts.
    expect_spikes(device(), exec(), shape, x, {{centre, a, b}, -1});
  }
}

// Wherever the first spike lies, at the maximum or at its mirror image too, the other one of the pair stays.
TEST_P(SpikeTest, FirstSpikeAtEveryPlace) {
  const Extents3 small{2, 3, 5};
  std::vector<float> x;  // a wave along the diagonals of H and W, and something beside it
  for_each_place(small, [&](size_t i, const Extents3& v) {
    const double turns = static_cast<double>(v[1]) / 3 + static_cast<double>(v[2]) / 5;
    x.push_back(static_cast<float>(std::cos(2 * M_PI * turns + 0.3)) + uniform(30, 3)[i] / 4);
  });
  for_each_place(small, [&](size_t, const Extents3& place) {
    std::array<float, 3> position{};
    for (size_t axis = 0; axis < 3; ++axis)
      position[axis] = (static_cast<float>(place[axis]) + 0.5f) / static_cast<float>(small[axis]);
    expect_spikes(device(), exec(), small, x, {{position, {0.1f, 0.7f, 0.9f}}, -1});
  });
}

// The highest frequency in a long row goes through many turns; the phase must not lose the fraction.
TEST_P(SpikeTest, PhaseIsAccurateFarOut) {
  const int64_t width = 3001;
  std::vector<float> x(static_cast<size_t>(width), 0.0f);
  x[0] = 1;  // the spectrum is 1 everywhere
  const SpikeParams p{{{0, 0, 0}}, static_cast<float>(width)};
  std::vector<double> expected(x.size());
  for (int64_t w = 0; w < width; ++w) {
    const int64_t turns = -(width / 2) * w % width;
    expected[static_cast<size_t>(w)] =
        std::cos(2 * M_PI * static_cast<double>(turns) / static_cast<double>(width)) + (w == 0 ? 1 : 0);
  }
  expect_transformed(device(), exec(), 1, {1, 1, width}, x, expected, 1e-6,
                     [&](auto y, auto in, const Exec& on) { spike(y, in, p, on); });
}

TEST_P(SpikeTest, EachVolumeHasItsOwnMaximum) {
  auto x = uniform(count_of(shape), 4, 0, 1);
  const auto second = uniform(count_of(shape), 5, -1, 1);
  const SpikeParams p{{{0.1f, 0.7f, 0.9f}}, 1};
  const auto expected = joined(with_spikes(x, shape, p), with_spikes(second, shape, p));
  x.insert(x.end(), second.begin(), second.end());
  expect_transformed(device(), exec(), 2, shape, x, expected, 4e-6,
                     [&](auto y, auto in, const Exec& on) { spike(y, in, p, on); });
}

TEST_P(SpikeTest, NoSpikesOrNoIntensityCopies) {
  const auto x = uniform(count_of(shape), 3);
  for (const SpikeParams& p : {SpikeParams{{}, 1}, SpikeParams{{centre}, 0}}) {
    expect_transformed(device(), exec(), 1, shape, x, {x.begin(), x.end()}, 0,
                       [&](auto y, auto in, const Exec& on) { spike(y, in, p, on); });
  }
}

TEST(SpikeThreads, SameBitsForAnyNumberOfThreads) {
  expect_transform_thread_independent([&](auto y, auto x, const Exec& on) {
    spike(y, x, {{{0.1f, 0.2f, 0.3f}, {0.5f, 0.7f, 0.9f}}, 1}, on);
  });
}

TEST_P(SpikeTest, WrongArgumentsAreErrors) {
  Activation<float> x(device(), 1, 2, 3, 4, 1), y(device(), 1, 2, 3, 4, 1);
  EXPECT_EQ(message_of([&] {
              spike(y, x, {{{0.5f, 1, 0}}, 1}, exec());
            }),
            "spike: a position is 1, expected 0 to less than 1");
}

}  // namespace
}  // namespace vg::test
