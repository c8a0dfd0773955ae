#include "data/phantom_noise.h"

#include <cmath>

namespace vg::data {
namespace {

constexpr int kNormalTableBits = 12;

/// Quantiles of the standard normal distribution at (n + 1/2) / 4096: 12 random bits give one normal number
/// (within +-3.7), which is finer than the rounding of a scan to int16 and much faster than logarithms.
const std::vector<float>& normal_table() {
  static const std::vector<float> table = [] {
    constexpr int count = 1 << kNormalTableBits;
    std::vector<float> values(count);
    for (int n = 0; n < count; ++n) {
      const double target = (n + 0.5) / count;
      double low = -5, high = 5;
      for (int step = 0; step < 48; ++step) {  // bisection of the distribution function
        const double middle = 0.5 * (low + high);
        (0.5 * std::erfc(-middle / std::sqrt(2.0)) < target ? low : high) = middle;
      }
      values[n] = static_cast<float>(0.5 * (low + high));
    }
    return values;
  }();
  return table;
}

}  // namespace

PhantomRandom::PhantomRandom(uint64_t seed, int64_t subject, PhantomStream stream, uint32_t part)
    : key_(seed), high_(static_cast<uint64_t>(subject) << 32 | static_cast<uint64_t>(stream) << 16 | part) {}

uint32_t PhantomRandom::next() {
  if (left_ == 0) {
    block_ = kernels::philox(key_, counter_++, high_);
    left_ = 4;
  }
  switch (left_--) {
    case 4:
      return block_.x;
    case 3:
      return block_.y;
    case 2:
      return block_.z;
    default:
      return block_.w;
  }
}

float PhantomRandom::normal() {
  return normal_table()[next() >> (32 - kNormalTableBits)];
}

std::array<float, 8> PhantomRandom::normals_at(uint64_t index) const {
  const kernels::Uint4 r = kernels::philox(key_, index, high_);
  const float* table = normal_table().data();
  constexpr uint32_t mask = (1u << kNormalTableBits) - 1;
  return {table[r.x >> 20], table[r.x & mask], table[r.y >> 20], table[r.y & mask],
          table[r.z >> 20], table[r.z & mask], table[r.w >> 20], table[r.w & mask]};
}

SmoothField::SmoothField(PhantomRandom random, const std::array<int64_t, 3>& extent, double voxel_size,
                         double spacing) {
  for (int axis = 0; axis < 3; ++axis) {
    taps_[axis].resize(extent[axis]);
    for (int64_t n = 0; n < extent[axis]; ++n) {
      const double position = n * voxel_size / spacing, t = position - std::floor(position), s = 1 - t;
      taps_[axis][n] = {
          static_cast<int32_t>(std::floor(position)),
          {static_cast<float>(s * s * s / 6), static_cast<float>((3 * t * t * t - 6 * t * t + 4) / 6),
           static_cast<float>((3 * s * s * s - 6 * s * s + 4) / 6), static_cast<float>(t * t * t / 6)}};
    }
    nodes_[axis] = taps_[axis].back().first + 4;
  }
  // The squares of the four weights add up to 151/315 on average over a cell: undo that per axis.
  const float gain = static_cast<float>(std::pow(315.0 / 151.0, 1.5));
  lattice_.resize(nodes_[0] * nodes_[1] * nodes_[2]);
  for (float& node : lattice_) node = gain * random.normal();
}

void SmoothField::row(int64_t begin, int64_t j, int64_t k, std::span<float> out) const {
  const Tap &tap_j = taps_[1][j], &tap_k = taps_[2][k];
  const Tap* tap_i = taps_[0].data() + begin;
  const int64_t first = tap_i[0].first, last = tap_i[out.size() - 1].first + 4;
  constexpr int64_t most = 512;
  float line[most];  // the lattice at (j, k), along i
  if (last - first > most) {
    for (size_t half = 0; half < 2; ++half) {
      const size_t from = half * (out.size() / 2), to = half == 0 ? out.size() / 2 : out.size();
      row(begin + static_cast<int64_t>(from), j, k, out.subspan(from, to - from));
    }
    return;
  }
  for (int64_t n = 0; n < last - first; ++n) line[n] = 0;
  for (int b = 0; b < 4; ++b) {
    for (int a = 0; a < 4; ++a) {
      const float weight = tap_k.weight[b] * tap_j.weight[a];
      const float* nodes =
          lattice_.data() + nodes_[0] * ((tap_j.first + a) + nodes_[1] * (tap_k.first + b)) + first;
      for (int64_t n = 0; n < last - first; ++n) line[n] += weight * nodes[n];
    }
  }
  for (size_t n = 0; n < out.size(); ++n) {
    const float* nodes = line + (tap_i[n].first - first);
    const auto& weight = tap_i[n].weight;
    out[n] = weight[0] * nodes[0] + weight[1] * nodes[1] + weight[2] * nodes[2] + weight[3] * nodes[3];
  }
}

}  // namespace vg::data
