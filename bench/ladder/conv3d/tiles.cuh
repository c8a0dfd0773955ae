// How rungs cut the outputs into tiles, a block each: the part that has nothing to teach.
#pragma once

#include "kernels/common/launch.cuh"

namespace vg::ladder::cuda {

using kernels::View;

/// Tiles of depth x height x width voxels and `channels` output channels that cover y.
struct Tiling {
  int depth, height, width, channels;
  int64_t groups, tiles_w, tiles_h, tiles_d, blocks;
};

template <class T>
Tiling tiling(const View<T>& y, int64_t depth, int height, int width, int channels) {
  const auto cover = [](int64_t extent, int64_t tile) { return (extent + tile - 1) / tile; };
  Tiling t{
      static_cast<int>(depth), height, width, channels, y.c / channels, cover(y.w, width), cover(y.h, height),
      cover(y.d, depth),       0};
  t.blocks = t.groups * t.tiles_w * t.tiles_h * t.tiles_d * y.n;
  return t;
}

/// First voxel and channel of this block's tile.
struct TileOrigin {
  int64_t n;
  int d, h, w;
  int64_t o;
};

__device__ inline TileOrigin tile_origin(const Tiling& t) {
  // Groups of channels first: blocks that share an input run at the same time.
  int64_t rest = blockIdx.x;
  TileOrigin at{};
  at.o = rest % t.groups * t.channels;
  rest /= t.groups;
  at.w = static_cast<int>(rest % t.tiles_w) * t.width;
  rest /= t.tiles_w;
  at.h = static_cast<int>(rest % t.tiles_h) * t.height;
  rest /= t.tiles_h;
  at.d = static_cast<int>(rest % t.tiles_d) * t.depth;
  at.n = rest / t.tiles_d;
  return at;
}

template <class T>
__device__ inline bool inside(const View<T>& view, int d, int h, int w) {
  return d >= 0 && d < view.d && h >= 0 && h < view.h && w >= 0 && w < view.w;
}

/// sum += a * b, and the sum over four input channels of x[i] * weights[i]: four output channels each.
__device__ __forceinline__ void multiply_add(float4& sum, float a, const float4& b) {
  sum.x += a * b.x, sum.y += a * b.y, sum.z += a * b.z, sum.w += a * b.w;
}
__device__ __forceinline__ void multiply_add(float4& sum, const float4& x, const float4 (&weights)[4]) {
  multiply_add(sum, x.x, weights[0]);
  multiply_add(sum, x.y, weights[1]);
  multiply_add(sum, x.z, weights[2]);
  multiply_add(sum, x.w, weights[3]);
}

}  // namespace vg::ladder::cuda
