// Random numbers and smooth random fields of the phantom generator. Everything is a function of (seed,
// subject, stream), so that subjects can be made in any order and by any number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/common/philox.h"

namespace vg::data {

/// What a stream of random numbers is drawn for. Numbers of one purpose never depend on how many were drawn
/// for another.
enum class PhantomStream : uint32_t {
  head = 1,
  displacement,
  lesion,
  lesion_shape,
  bias,
  contrast,
  texture,
  vessels,
  spots,
  noise,
  anatomy
};

/// A sequence of random numbers by Philox.
class PhantomRandom {
 public:
  PhantomRandom(uint64_t seed, int64_t subject, PhantomStream stream, uint32_t part = 0);
  float uniform() { return kernels::uniform_from_bits(next()); }
  float uniform(float low, float high) { return low + (high - low) * uniform(); }
  bool chance(float probability) { return uniform() < probability; }
  float normal();
  /// Eight independent standard normals that belong to element `index` of the stream, whatever was drawn
  /// before.
  std::array<float, 8> normals_at(uint64_t index) const;

 private:
  uint32_t next();
  uint64_t key_, high_, counter_ = 0;
  kernels::Uint4 block_{};
  int left_ = 0;
};

/// A field of zero mean and about unit variance: normal numbers on a coarse lattice, interpolated by cubic
/// B-splines. Evaluated a row of voxels at a time, which costs a few operations a voxel.
class SmoothField {
 public:
  /// `extent` voxels of `voxel_size` mm; lattice nodes every `spacing` mm.
  SmoothField(PhantomRandom random, const std::array<int64_t, 3>& extent, double voxel_size, double spacing);
  /// out[n] = the field at voxel (begin + n, j, k), for every element of `out`.
  void row(int64_t begin, int64_t j, int64_t k, std::span<float> out) const;

 private:
  struct Tap {
    int32_t first;
    std::array<float, 4> weight;
  };
  std::array<int64_t, 3> nodes_{};
  std::array<std::vector<Tap>, 3> taps_;
  std::vector<float> lattice_;
};

}  // namespace vg::data
