// Stretches of voxels for norms on the CPU: the unit of their passes. For *_cpu.cpp.
//
// Per-channel parameters and sums stay in registers along a stretch. Rows of deep levels hold a few voxels: a
// stretch takes several of them, so that what is done once for it costs little. Its sums are taken in float,
// and go on in double.
#pragma once

#include "kernels/common/channel_blocks.h"

namespace vg::kernels::cpu::VG_ISA {

/// Few enough to sum in float.
inline constexpr int64_t most_stretch_voxels = 128;

/// Rows of one group (the batch, or an instance), or a part of a long row.
struct Stretch {
  int64_t group, first_row, rows, first, width;

  VG_INLINE int64_t voxels() const { return rows * width; }
  /// at[r] = the first voxel of its row r.
  template <class T>
  VG_INLINE void point(T** at, const View<T>& view) const {
    const int64_t row = first_row;
    int64_t h = row % view.h, d = row / view.h % view.d, n = row / view.h / view.d;
    for (int64_t r = 0; r < rows; ++r) {
      at[r] = view.at(n, d, h, first);
      if (++h == view.h) {
        h = 0;
        if (++d == view.d) d = 0, ++n;
      }
    }
  }
};

/// Cuts a volume into stretches, by its shape alone.
class StretchGrid {
 public:
  StretchGrid(const View<const float>& x, bool per_instance)
      : groups_(per_instance ? x.n : 1), group_rows_(x.rows() / (groups_ == 0 ? 1 : groups_)), width_(x.w) {
    constexpr int64_t level_1_floats = 8192, fewest_voxels = 16;
    const int64_t fitting = level_1_floats / (x.c == 0 ? 1 : x.c),
                  wanted = fitting < fewest_voxels
                               ? fewest_voxels
                               : (fitting < most_stretch_voxels ? fitting : most_stretch_voxels);
    segments_ = (width_ + most_stretch_voxels - 1) / most_stretch_voxels;
    rows_ = width_ == 0 || width_ > wanted ? 1 : wanted / width_;
    const int64_t floats = (width_ + (segments_ == 0)) / (segments_ == 0 ? 1 : segments_) * rows_ * x.c;
    chunk_ = floats == 0 ? 1 : (chunk_floats + floats - 1) / floats;
  }

  int64_t groups() const { return groups_; }
  int64_t stretches_of_group() const { return (group_rows_ + rows_ - 1) / rows_ * segments_; }
  int64_t stretches() const { return groups_ * stretches_of_group(); }
  /// Stretches that are worth a piece of work.
  int64_t chunk() const { return chunk_; }

  Stretch stretch(int64_t index) const {
    const int64_t segment = index % segments_, runs = (group_rows_ + rows_ - 1) / rows_,
                  run = index / segments_ % runs, group = index / segments_ / runs,
                  begin = piece_begin(width_, segments_, segment), left = group_rows_ - run * rows_;
    return {group, group * group_rows_ + run * rows_, rows_ < left ? rows_ : left, begin,
            piece_begin(width_, segments_, segment + 1) - begin};
  }

 private:
  static constexpr int64_t chunk_floats = 16384;
  int64_t groups_, group_rows_, width_, segments_, rows_, chunk_;
};

/// Calls body(stretch) for all, in parallel, by chunks from the last one on.
template <class Body>
inline void for_each_stretch_backwards(const StretchGrid& grid, const Body& body) {
  const int64_t stretches = grid.stretches(), chunks = (stretches + grid.chunk() - 1) / grid.chunk();
  parallel_for(chunks, 1, [&](int64_t i) {
    const int64_t begin = (chunks - 1 - i) * grid.chunk(),
                  end = begin + grid.chunk() < stretches ? begin + grid.chunk() : stretches;
    for (int64_t index = begin; index < end; ++index) body(grid.stretch(index));
  });
}

/// sums[groups][length] = the sums of what body(stretch, sums) adds for each stretch of a group; overwrites.
/// Pieces of stretches are summed apart and then in their order.
template <class Body>
inline void sum_stretches(double* sums, const StretchGrid& grid, int64_t length, Workspace& workspace,
                          const Body& body) {
  WorkspaceScope scope(workspace);
  const int64_t stretches = grid.stretches_of_group(), pieces = reduction_pieces(stretches, grid.chunk());
  double* const partials = scope.allocate<double>(static_cast<size_t>(grid.groups() * pieces * length));
  parallel_for(grid.groups() * pieces, 1, [&](int64_t i) {
    double* const mine = partials + i * length;
    std::memset(mine, 0, static_cast<size_t>(length) * sizeof(double));
    const int64_t group = i / pieces, piece = i % pieces, end = piece_begin(stretches, pieces, piece + 1);
    for (int64_t index = piece_begin(stretches, pieces, piece); index < end; ++index)
      body(grid.stretch(group * stretches + index), mine);
  });
  parallel_for(grid.groups(), 1, [&](int64_t group) {
    double* const out = sums + group * length;
    std::memset(out, 0, static_cast<size_t>(length) * sizeof(double));
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const double* const part = partials + (group * pieces + piece) * length;
      for (int64_t i = 0; i < length; ++i) out[i] += part[i];
    }
  });
}

/// The middle one of three values.
VG_INLINE Vec median(Vec a, Vec b, Vec c) {
  return max(min(a, b), min(max(a, b), c));
}

/// Adds the moments of a stretch: sums and sums of squares of the block of channels at `c`, taken in float of
/// x - k. k is the median of three values, so that one that is far from all others does not spoil it.
template <class Block>
VG_INLINE void add_stretch_moments(double* sums, double* squares, const float* const* at, int64_t c,
                                   const Stretch& stretch, int64_t stride, const Block& block) {
  constexpr int parts = 4;
  const int64_t middle = stretch.width / 2, last = stretch.width - 1;
  const Vec k = median(block.load(at[0] + c), block.load(at[stretch.rows / 2] + c + middle * stride),
                       block.load(at[stretch.rows - 1] + c + last * stride));
  Vec sum[parts] = {}, square[parts] = {};
  for (int64_t row = 0; row < stretch.rows; ++row) {
    const float* p = at[row] + c;
    int64_t i = 0;
    for (; i + parts <= stretch.width; i += parts, p += parts * stride) {
#pragma GCC unroll 4
      for (int part = 0; part < parts; ++part) {
        const Vec v = block.load(p + part * stride) - k;
        sum[part] += v;
        square[part] += v * v;
      }
    }
    for (; i < stretch.width; ++i, p += stride) {
      const Vec v = block.load(p) - k;
      sum[0] += v;
      square[0] += v * v;
    }
  }
  add_shifted_moments(sums, squares, k, (sum[0] + sum[1]) + (sum[2] + sum[3]),
                      (square[0] + square[1]) + (square[2] + square[3]),
                      static_cast<double>(stretch.voxels()), block);
}

}  // namespace vg::kernels::cpu::VG_ISA
