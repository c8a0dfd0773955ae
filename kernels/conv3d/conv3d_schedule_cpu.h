// How the CPU's convolutions cut their outputs into pieces of work. For *_cpu.cpp.
#pragma once

#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/common/view.h"
#include "kernels/conv3d/conv3d_pack_cpu.h"
#include "kernels/conv3d/conv3d_prefetch_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

/// Rows [first_row, last_row) of plane d of sample n, for a range of blocks of output channels.
struct WorkItem {
  int64_t n, d, first_row, last_row, first_block, last_block;
};

/// Weights of blocks of output channels as the tiles read them: of all, or of the group at which a thread is,
/// who then asks for those of the next group while it computes.
class BlockWeights {
 public:
  BlockWeights(const float* packed, int64_t block_floats) : packed_(packed), block_floats_(block_floats) {}
  /// Packs blocks [first, last) into `panel`. `tiles` tiles of them will run.
  BlockWeights(float* panel, const Weights& weights, int64_t first, int64_t last, int64_t tiles)
      : packed_(panel), block_floats_(weights.block_floats()), first_(first), tiles_(tiles) {
    for (int64_t block = first; block < last; ++block)
      pack_block(panel + (block - first) * block_floats_, weights, block);
  }
  /// Blocks [first, last), as far as they exist, are to be asked for.
  void set_next(const Weights& w, int64_t first, int64_t last) {
    const int64_t begin = first * lanes, end = last * lanes < w.out ? last * lanes : w.out;
    if (begin >= end) return;
    // In PyTorch's order their taps lie in as many runs as there are of the outer channels.
    const bool outs_outside = w.out_stride > w.in_stride;
    const int64_t outs = end - begin, run_floats = (outs_outside ? w.in : outs) * w.taps(),
                  run = (run_floats + line_floats - 1) / line_floats;
    next_ = {w.data + begin * w.out_stride,
             line_floats,
             run * (outs_outside ? outs : w.in),
             run,
             (outs_outside ? w.out_stride : w.in_stride) - run * line_floats,
             run};
  }

  VG_INLINE const float* of(int64_t block) const { return packed_ + (block - first_) * block_floats_; }
  /// A tile's share of the next weights.
  VG_INLINE LineRuns ahead() {
    if (tile_ >= tiles_ || next_.count == 0) return {};
    const int64_t begin = next_.count * tile_ / tiles_, end = next_.count * (tile_ + 1) / tiles_,
                  runs = begin / next_.run;
    ++tile_;
    LineRuns share = next_;
    share.data += begin * next_.step + runs * next_.skip;
    share.left -= begin - runs * next_.run;
    share.count = end - begin;
    return share;
  }

 private:
  const float* packed_;
  int64_t block_floats_ = 0, first_ = 0, tiles_ = 0, tile_ = 0;
  LineRuns next_;
};

/// Chunks of rows outside and planes inside, so that the input planes that neighbouring outputs share are
/// still in the cache; blocks of output channels inside an item as long as their weights stay there too, else
/// groups of them outside of everything.
class Schedule {
 public:
  Schedule(const View<float>& y, const View<const float>& x, const Weights& weights, int64_t row_multiple,
           int stride)
      : y_(y), blocks_(weights.out_blocks()), group_(blocks_) {
    const int64_t row_bytes = 3 * stride * x.w * x.c * static_cast<int64_t>(sizeof(float));
    const int64_t fitting = plane_bytes / (row_bytes == 0 ? 1 : row_bytes) - 2;
    const int64_t rows = fitting < 4 ? 4 : (fitting > 16 ? 16 : fitting);
    rows_ = (rows + row_multiple - 1) / row_multiple * row_multiple;
    chunks_ = (y.h + rows_ - 1) / rows_;
    const int64_t block_bytes = weights.block_floats() * static_cast<int64_t>(sizeof(float));
    if (blocks_ * block_bytes <= weight_bytes) return;
    // Enough groups for all threads: which blocks are together changes no sum.
    const int64_t fair = blocks_ / (2 * thread_count());
    group_ = group_bytes / block_bytes < fair ? group_bytes / block_bytes : fair;
    if (group_ < 1) group_ = 1;
  }

  /// Calls body(item, block weights) for all items. The weights of all blocks are packed before or, if those
  /// are more than a share of the cache and there are enough groups for all threads, each group's by the
  /// thread that goes on with it: they are in its cache. `block_tiles`: tiles that will run for a block.
  template <class Body>
  void run(const Weights& weights, int64_t block_tiles, WorkspaceScope& scope, const Body& body) const {
    const int64_t groups = (blocks_ + group_ - 1) / group_, floats = group_ * weights.block_floats();
    if (weights.packed == nullptr && groups >= 2 * thread_count()) {
      float* const panels = scope.allocate<float>(static_cast<size_t>(thread_count() * floats));
      return parallel_for(groups, 1, [&](int64_t group) {
        const int64_t first = group * group_, last = first + group_ < blocks_ ? first + group_ : blocks_;
        BlockWeights packed(panels + thread_index() * floats, weights, first, last,
                            (last - first) * block_tiles);
        // The group that this thread takes next, if threads are equally fast.
        packed.set_next(weights, first + thread_count() * group_, last + thread_count() * group_);
        for (int64_t i = 0; i < group_items(); ++i) body(item(group * group_items() + i), packed);
      });
    }
    const float* const all = packed_or_pack(weights, scope);
    const int64_t items = groups * group_items();
    // Planes in a row, the next of which is asked for ahead: the more, the fewer come as a surprise.
    const int64_t pieces = 16 * thread_count(), grain = items < pieces ? 1 : items / pieces;
    parallel_for(items, grain, [&](int64_t i) {
      BlockWeights packed(all, weights.block_floats());
      body(item(i), packed);
    });
  }

 private:
  // Shares of a 1 MiB level-2 cache, the smallest of current server cores.
  static constexpr int64_t plane_bytes = 300 << 10;
  static constexpr int64_t weight_bytes = 1 << 20;

  static constexpr int64_t group_bytes = 448 << 10;

  int64_t group_items() const { return y_.n * chunks_ * y_.d; }
  WorkItem item(int64_t i) const {
    WorkItem item{};
    item.d = i % y_.d;
    const int64_t chunk = i / y_.d % chunks_, group = i / group_items();
    item.n = i / y_.d / chunks_ % y_.n;
    item.first_row = chunk * rows_;
    item.last_row = item.first_row + rows_ < y_.h ? item.first_row + rows_ : y_.h;
    item.first_block = group * group_;
    item.last_block = item.first_block + group_ < blocks_ ? item.first_block + group_ : blocks_;
    return item;
  }

  View<float> y_;
  int64_t blocks_, group_, rows_, chunks_;
};

}  // namespace vg::kernels::cpu::VG_ISA
