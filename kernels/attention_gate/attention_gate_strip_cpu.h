// Strips of voxels for the attention gate on the CPU: the lanes of a vector are voxels. For *_cpu.cpp.
//
// A 1x1x1 convolution to a few channels leaves most of a vector of channels empty, and everything behind it
// (norms, relu, the sum over channels for psi) goes by voxels. So the channels of a strip are transposed into
// scratch that stays in the level-1 or level-2 cache: rows of one channel each, with voxels along the row.
#pragma once

#include "kernels/common/channel_blocks.h"

namespace vg::kernels::cpu::VG_ISA {

/// Long enough that sums in double cost little beside the strip, short enough for the cache.
inline constexpr int64_t most_strip_voxels = 160;

/// Whole rows of a volume, or a part of a long row.
struct VoxelStrip {
  int64_t index, first_row, rows, first, width;

  VG_INLINE int64_t voxels() const { return rows * width; }
  VG_INLINE int64_t vectors() const { return (voxels() + lanes - 1) / lanes; }

  /// at[v] = voxel v of the strip, up to a whole vector: lanes beyond the last voxel repeat it.
  template <class T>
  VG_INLINE void point(T** at, const View<T>& view) const {
    int64_t v = 0;
    for (int64_t r = 0; r < rows; ++r) {
      T* p = view.row(first_row + r) + first * view.stride_w;
      for (int64_t w = 0; w < width; ++w, p += view.stride_w) at[v++] = p;
    }
    for (; v % lanes != 0; ++v) at[v] = at[v - 1];
  }

  /// 1 in the lanes of vector `vector` that hold a voxel, 0 in the others.
  VG_INLINE Vec inside(int64_t vector) const {
    const int64_t left = voxels() - vector * lanes;
    return left >= lanes ? broadcast(1) : load_partial(ones, left);
  }

 private:
  static constexpr float ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
};

/// Cuts a volume into strips, by its shape alone.
class StripGrid {
 public:
  explicit StripGrid(const View<const float>& x) : total_rows_(x.rows()), width_(x.w) {
    // Small volumes give at least 256 strips as far as 32 voxels allow, for many threads.
    const int64_t share = x.voxels() / 256,
                  wanted = share < 32 ? 32 : (share < most_strip_voxels ? share : most_strip_voxels);
    segments_ = (width_ + most_strip_voxels - 1) / most_strip_voxels;
    rows_ = segments_ > 1 || width_ > wanted ? 1 : wanted / width_;
  }

  int64_t strips() const { return (total_rows_ + rows_ - 1) / rows_ * segments_; }
  /// Floats of a row of scratch.
  int64_t stride() const {
    const int64_t voxels = segments_ > 1 ? most_strip_voxels : rows_ * width_;
    return (voxels + lanes - 1) / lanes * lanes;
  }
  VoxelStrip strip(int64_t index) const {
    const int64_t segment = index % segments_, first_row = index / segments_ * rows_,
                  begin = piece_begin(width_, segments_, segment);
    return {index, first_row, rows_ < total_rows_ - first_row ? rows_ : total_rows_ - first_row, begin,
            piece_begin(width_, segments_, segment + 1) - begin};
  }

  /// The strip behind `strip`, or that one itself if the next is not alike.
  VoxelStrip strip_after(const VoxelStrip& strip) const {
    if (strip.index + 1 >= strips()) return strip;
    const VoxelStrip next = this->strip(strip.index + 1);
    return next.voxels() >= strip.voxels() ? next : strip;
  }

 private:
  int64_t total_rows_, width_, segments_, rows_;
};

/// rows[c * stride + v] = at[v][c] for all channels and whole vectors of voxels. Asks for ahead[v] as it
/// goes: memory does not keep up with strips that wait for it one by one.
inline void transpose_channels(float* rows, int64_t stride, const float* const* at, const float* const* ahead,
                               int64_t channels, int64_t vectors) {
  for (int64_t v = 0; v < vectors * lanes; v += lanes) {
    for_each_block(channels, [&](auto block, int64_t c) {
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) __builtin_prefetch(ahead[v + i] + c, 0, 2);
      Vec square[lanes];
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) square[i] = block.load(at[v + i] + c);
      transpose(square);
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) {
        if (i < block.size()) store(rows + (c + i) * stride + v, square[i]);
      }
    });
  }
}

/// out[f][v] = bias[f] + sum over k < inner of weights[f * inner + k] * in[k][v]; rows are `stride` apart.
template <int Outputs, int Vectors>
VG_INLINE void multiply_tile(float* out, const float* in, int64_t stride, const float* weights,
                             const float* bias, int64_t inner) {
  Vec sum[Outputs][Vectors];
#pragma GCC unroll 8
  for (int f = 0; f < Outputs; ++f) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) sum[f][v] = broadcast(bias[f]);
  }
#pragma GCC unroll 1
  for (int64_t k = 0; k < inner; ++k, in += stride) {
    Vec x[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) x[v] = load(in + v * lanes);
#pragma GCC unroll 8
    for (int f = 0; f < Outputs; ++f) {
      const Vec weight = broadcast(weights[f * inner + k]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sum[f][v] += weight * x[v];
    }
  }
#pragma GCC unroll 8
  for (int f = 0; f < Outputs; ++f) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) store(out + f * stride + v * lanes, sum[f][v]);
  }
}

template <int Outputs>
inline void multiply_outputs(float* out, const float* in, int64_t stride, int64_t vectors,
                             const float* weights, const float* bias, int64_t inner) {
  int64_t v = 0;
  for (; v + 2 <= vectors; v += 2)
    multiply_tile<Outputs, 2>(out + v * lanes, in + v * lanes, stride, weights, bias, inner);
  if (v < vectors) multiply_tile<Outputs, 1>(out + v * lanes, in + v * lanes, stride, weights, bias, inner);
}

/// The same for all `outputs` rows of a strip.
inline void multiply_strip(float* out, const float* in, int64_t stride, int64_t vectors, const float* weights,
                           const float* bias, int64_t inner, int64_t outputs) {
  constexpr int wide = lanes == 16 ? 8 : 4;  // with two vectors: half of the registers
  int64_t f = 0;
  for (; f + wide <= outputs; f += wide)
    multiply_outputs<wide>(out + f * stride, in, stride, vectors, weights + f * inner, bias + f, inner);
  for (; f < outputs; ++f)
    multiply_outputs<1>(out + f * stride, in, stride, vectors, weights + f * inner, bias + f, inner);
}

/// sums[lanes] and squares[lanes] += the sums of x and x^2 along a row of scratch, each lane for itself;
/// taken of x - k as in add_shifted_moments().
VG_INLINE void add_lane_moments(double* sums, double* squares, const float* row, const VoxelStrip& strip) {
  const Vec first = broadcast(row[0]);
  Vec sum{}, square{}, count{};
  const int64_t vectors = strip.vectors();
  for (int64_t v = 0; v < vectors; ++v) {
    const Vec one = strip.inside(v), d = (load(row + v * lanes) - first) * one;
    sum += d;
    square += d * d;
    count += one;
  }
  const VecDouble k = widen(first), n = widen(count);
  VecDouble s = widen(sum), q = widen(square);
  for (int half = 0; half < 2; ++half) {
    q.half[half] += k.half[half] * (2.0 * s.half[half] + n.half[half] * k.half[half]);
    s.half[half] += n.half[half] * k.half[half];
  }
  add_to(sums, s, FullBlock{});
  add_to(squares, q, FullBlock{});
}

/// The lanes of a sum, added in their order.
VG_INLINE double sum_of_lanes(const double* sums) {
  double sum = 0;
  for (int i = 0; i < lanes; ++i) sum += sums[i];
  return sum;
}

}  // namespace vg::kernels::cpu::VG_ISA
