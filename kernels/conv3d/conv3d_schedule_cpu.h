// How the CPU's convolutions cut their outputs into pieces of work. For *_cpu.cpp.
#pragma once

#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/common/view.h"

namespace vg::kernels::cpu::VG_ISA {

/// Rows [first_row, last_row) of plane d of sample n, for a range of blocks of output channels.
struct WorkItem {
  int64_t n, d, first_row, last_row, first_block, last_block;
};

/// Chunks of rows outside and planes inside, so that the input planes that neighbouring outputs share are
/// still in the cache; blocks of output channels inside an item as long as their weights stay there too, else
/// outside of everything.
class Schedule {
 public:
  Schedule(const View<float>& y, const View<const float>& x, int64_t blocks, int64_t weight_floats,
           int64_t row_multiple, int stride)
      : y_(y), blocks_(blocks) {
    const int64_t row_bytes = 3 * stride * x.w * x.c * static_cast<int64_t>(sizeof(float));
    const int64_t fitting = plane_bytes / (row_bytes == 0 ? 1 : row_bytes) - 2;
    const int64_t rows = fitting < 4 ? 4 : (fitting > 16 ? 16 : fitting);
    rows_ = (rows + row_multiple - 1) / row_multiple * row_multiple;
    chunks_ = (y.h + rows_ - 1) / rows_;
    blocks_outside_ = blocks > 1 && weight_floats * static_cast<int64_t>(sizeof(float)) > weight_bytes;
  }

  template <class Body>
  void run(const Body& body) const {
    const int64_t items = (blocks_outside_ ? blocks_ : 1) * y_.n * chunks_ * y_.d;
    // Planes in a row, the next of which is asked for ahead: the more, the fewer come as a surprise.
    const int64_t pieces = 16 * thread_count(), grain = items < pieces ? 1 : items / pieces;
    parallel_for(items, grain, [&](int64_t i) {
      WorkItem item{};
      item.d = i % y_.d;
      const int64_t chunk = i / y_.d % chunks_, block = i / y_.d / chunks_ / y_.n;
      item.n = i / y_.d / chunks_ % y_.n;
      item.first_row = chunk * rows_;
      item.last_row = item.first_row + rows_ < y_.h ? item.first_row + rows_ : y_.h;
      item.first_block = blocks_outside_ ? block : 0;
      item.last_block = blocks_outside_ ? block + 1 : blocks_;
      body(item);
    });
  }

 private:
  // Shares of a 1 MiB level-2 cache, the smallest of current server cores.
  static constexpr int64_t plane_bytes = 300 << 10;
  static constexpr int64_t weight_bytes = 1 << 20;

  View<float> y_;
  int64_t blocks_, rows_, chunks_;
  bool blocks_outside_;
};

}  // namespace vg::kernels::cpu::VG_ISA
