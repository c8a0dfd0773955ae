// Asking for memory ahead of its use, a few cache lines at a time. For *_cpu.cpp.
//
// A core waits for only a few dozen lines at once, and further requests hold up its other work: so that
// arithmetic and memory overlap, requests are spread over the tiles that run meanwhile.
#pragma once

#include "kernels/common/view.h"

namespace vg::kernels::cpu::VG_ISA {

inline constexpr int64_t line_floats = 16;  // a cache line

/// Lines at a distance of `step` floats.
struct Lines {
  const float* data = nullptr;
  int64_t step = 0, count = 0;
};

/// Lines in runs of `run`, after each of which `skip` floats are left out.
struct LineRuns {
  const float* data = nullptr;
  int64_t step = 0, count = 0;
  int64_t run = 0, skip = 0;
  int64_t left = 0;  ///< of the first run

  /// Asks for the next `lines`, or for those that are left.
  VG_INLINE void ask(int64_t lines) {
    if (lines > count) lines = count;
    count -= lines;
    for (; lines > 0; --lines) {
      __builtin_prefetch(data);
      data += step;
      if (--left == 0) data += skip, left = run;
    }
  }
};

/// Voxels of a volume: `count` lines of each of some rows of some planes, and `parts` times the same, a line
/// further on.
struct Region {
  const float* data = nullptr;
  int64_t step = 0, count = 0;  ///< floats between lines
  int64_t rows = 0, stride_row = 0;
  int64_t planes = 0, stride_plane = 0;
  int64_t parts = 1;
  VG_INLINE int64_t lines() const { return count * rows * planes * parts; }
};

/// The block of `channels` channels from `first_channel` on of voxels [w, w + width) of rows [h, h + rows) of
/// planes [d, d + planes), as far as they exist.
inline Region region(const View<const float>& x, int64_t n, int64_t d, int64_t h, int64_t w, int64_t planes,
                     int64_t rows, int64_t width, int64_t first_channel, int64_t channels) {
  if (d < 0) planes += d, d = 0;
  if (h < 0) rows += h, h = 0;
  if (w < 0) width += w, w = 0;
  if (d + planes > x.d) planes = x.d - d;
  if (h + rows > x.h) rows = x.h - h;
  if (w + width > x.w) width = x.w - w;
  if (planes <= 0 || rows <= 0 || width <= 0) return {};
  Region r{x.at(n, d, h, w) + first_channel, 0, 0, rows, x.stride_h, planes, x.stride_d};
  if (x.stride_w <= line_floats || (x.stride_w == x.c && channels == x.c)) {
    r.step = line_floats, r.count = ((width - 1) * x.stride_w + channels + line_floats - 1) / line_floats;
  } else {
    r.step = x.stride_w, r.count = width, r.parts = (channels + line_floats - 1) / line_floats;
  }
  return r;
}

/// Goes through up to two regions.
class Prefetcher {
 public:
  VG_INLINE void add(const Region& region) {
    if (region.lines() > 0) regions_[last_++] = region, left_ += region.lines();
  }
  VG_INLINE int64_t lines() const { return left_; }
  /// Asks for the next `count` lines, at least for those that are left.
  VG_INLINE void run(int64_t count) {
    if (count > left_) count = left_;
    left_ -= count;
    for (; count > 0; --count) {
      const Region& r = regions_[first_];
      __builtin_prefetch(r.data + part_ * line_floats + plane_ * r.stride_plane + row_ * r.stride_row +
                         line_ * r.step);
      if (++line_ < r.count) continue;
      line_ = 0;
      if (++row_ < r.rows) continue;
      row_ = 0;
      if (++plane_ < r.planes) continue;
      plane_ = 0;
      if (++part_ < r.parts) continue;
      part_ = 0;
      ++first_;
    }
  }

 private:
  Region regions_[2];
  int first_ = 0, last_ = 0;
  int64_t line_ = 0, row_ = 0, plane_ = 0, part_ = 0, left_ = 0;
};

}  // namespace vg::kernels::cpu::VG_ISA
