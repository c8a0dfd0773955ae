// Passes over views on the CPU with something per channel: parameters, or sums. For *_cpu.cpp.
//
// The unit of work is a strip: at most `strip_voxels` voxels of one row times `lanes` channels. Per-channel
// parameters and sums stay in registers along it; its sums are taken in float, and go on in double.
#pragma once

#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/common/workspace.h"

namespace vg::kernels::cpu::VG_ISA {

/// Few enough voxels to sum in float and to stay in the L1 cache for the next block of channels.
inline constexpr int64_t strip_voxels = 64;

/// `lanes` channels.
struct FullBlock {
  VG_INLINE Vec load(const float* p) const { return VG_ISA::load(p); }
  VG_INLINE void store(float* p, Vec v) const { VG_ISA::store(p, v); }
  VG_INLINE int64_t size() const { return lanes; }
};
/// The last `count` < lanes channels; the other lanes read as zero.
struct PartialBlock {
  int64_t count;
  VG_INLINE Vec load(const float* p) const { return load_partial(p, count); }
  VG_INLINE void store(float* p, Vec v) const { store_partial(p, v, count); }
  VG_INLINE int64_t size() const { return count; }
};

/// Calls body(block, first channel) for the blocks that cover `channels`.
template <class Body>
VG_INLINE void for_each_block(int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + lanes <= channels; c += lanes) body(FullBlock{}, c);
  if (c < channels) body(PartialBlock{channels - c}, c);
}

/// Calls body(first voxel, voxels) for the strips of a row, of equal length as far as that goes.
template <class Body>
VG_INLINE void for_each_strip(int64_t width, const Body& body) {
  const int64_t strips = (width + strip_voxels - 1) / strip_voxels;
  for (int64_t i = 0; i < strips; ++i) {
    const int64_t first = piece_begin(width, strips, i);
    body(first, piece_begin(width, strips, i + 1) - first);
  }
}

/// The lanes of a Vec in double.
typedef float HalfVec __attribute__((vector_size(lanes / 2 * sizeof(float))));
typedef double HalfDouble __attribute__((vector_size(lanes / 2 * sizeof(double))));
struct VecDouble {
  HalfDouble half[2];
};
VG_INLINE VecDouble widen(Vec v) {
  HalfVec halves[2];
  std::memcpy(halves, &v, sizeof v);
  return {{__builtin_convertvector(halves[0], HalfDouble), __builtin_convertvector(halves[1], HalfDouble)}};
}

/// sums[i] += v[i] for the channels of the block.
template <class Block>
VG_INLINE void add_to(double* sums, const VecDouble& v, const Block& block) {
  if (block.size() == lanes) {
    VecDouble old;
    std::memcpy(&old, sums, sizeof old);
    old.half[0] += v.half[0];
    old.half[1] += v.half[1];
    std::memcpy(sums, &old, sizeof old);
  } else {
    double values[lanes];
    std::memcpy(values, &v, sizeof v);
    for (int i = 0; i < lanes - 1; ++i) {
      if (i < block.size()) sums[i] += values[i];
    }
  }
}
template <class Block>
VG_INLINE void add_to(double* sums, Vec v, const Block& block) {
  add_to(sums, widen(v), block);
}

/// Adds the sums of x and x^2 of `count` values to `sums` and `squares`, given those of x - k, taken in
/// float: no cancellation unless |k| exceeds the deviation by more than doubles can tell.
template <class Block>
VG_INLINE void add_shifted_moments(double* sums, double* squares, Vec k, Vec sum, Vec square, double count,
                                   const Block& block) {
  const VecDouble shift = widen(k);
  VecDouble s = widen(sum), q = widen(square);
  for (int half = 0; half < 2; ++half) {
    q.half[half] += shift.half[half] * (2.0 * s.half[half] + count * shift.half[half]);
    s.half[half] += count * shift.half[half];
  }
  add_to(sums, s, block);
  add_to(squares, q, block);
}

/// Mean and biased variance from such sums; NaN stays NaN.
VG_INLINE void finish_moments(float* mean, float* variance, double sum, double square, double count) {
  const double m = sum / count, v = square / count - m * m;
  *mean = static_cast<float>(m);
  *variance = static_cast<float>(v < 0 ? 0 : v);
}

/// Sums over the rows of each group, `length` of them at once: sums[group][length] is overwritten. Group k is
/// rows [k * rows, (k + 1) * rows). body(row, double* sums, float* scratch) adds its row into sums[length];
/// `scratch` has `scratch_length` floats. The order of additions depends on the shape alone.
template <class Body>
inline void sum_rows(double* sums, int64_t groups, int64_t rows, int64_t length, int64_t scratch_length,
                     Workspace& workspace, const Body& body) {
  WorkspaceScope scope(workspace);
  const int64_t pieces = reduction_pieces(rows, 4);
  double* const partials = scope.allocate<double>(static_cast<size_t>(groups * pieces * length));
  float* const scratch = scope.allocate<float>(static_cast<size_t>(groups * pieces * scratch_length));
  parallel_for(groups * pieces, 1, [&](int64_t i) {
    double* const mine = partials + i * length;
    std::memset(mine, 0, static_cast<size_t>(length) * sizeof(double));
    const int64_t group = i / pieces, piece = i % pieces;
    for (int64_t row = piece_begin(rows, pieces, piece); row < piece_begin(rows, pieces, piece + 1); ++row)
      body(group * rows + row, mine, scratch + i * scratch_length);
  });
  constexpr int64_t run = 1024;
  const int64_t runs = (length + run - 1) / run;
  parallel_for(groups * runs, 1, [&](int64_t job) {
    const int64_t group = job / runs, begin = job % runs * run,
                  end = begin + run < length ? begin + run : length;
    double* const out = sums + group * length;
    for (int64_t i = begin; i < end; ++i) out[i] = 0;
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const double* const part = partials + (group * pieces + piece) * length;
      for (int64_t i = begin; i < end; ++i) out[i] += part[i];
    }
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
