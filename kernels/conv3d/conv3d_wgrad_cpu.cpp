// The gradient of a correlation's weights: a sum over all voxels for each pair of channels and each tap.
//
// The voxels are cut into pieces, each with partial sums of its own, which are added in the order of the
// pieces. How many pieces there are depends on the shapes alone, so that the result is the same bits for any
// number of threads. A piece consists of chunks: as many voxels as the level-1 cache holds of one block of
// inputs and one of outputs. Where voxels have more channels than a block, a chunk's are copied to scratch,
// block by block: voxels that lie a power of two apart share a few sets of the cache.
#include "kernels/common/parallel.h"
#include "kernels/conv3d/conv3d_passes_cpu.h"
#include "kernels/conv3d/conv3d_tile_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

int64_t clamped(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : (value > high ? high : value);
}
int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// How the voxels and the pairs of channel blocks are cut.
struct Partition {
  int64_t taps, blocks, in_blocks;  // of output channels, by lanes; of input channels, by channel_block
  int64_t rows, planes;             // of dy in a chunk
  int64_t row_chunks, plane_chunks, chunks;  // planes inside, then rows, then samples
  int64_t pieces;
  int64_t group, in_group;  // blocks of an item
  int64_t groups, in_groups;

  // Sums of a pair of blocks: [tap][input channel][lanes].
  int64_t pair_floats() const { return taps * channel_block * lanes; }
  int64_t weight_floats() const { return blocks * in_blocks * pair_floats(); }
  int64_t items() const { return pieces * groups * in_groups; }
};

void cut_voxels(Partition& p, const View<const float>& dy, int stride) {
  // With AVX-512 20 KiB of a block of dy, or 10 KiB with 20 KiB of x behind a stride.
  const int64_t chunk_voxels = stride == 1 ? 320 : 160;
  p.row_chunks = ceil_div(dy.h, clamped(chunk_voxels / dy.w, 1, dy.h));
  p.rows = ceil_div(dy.h, p.row_chunks);
  p.row_chunks = ceil_div(dy.h, p.rows);
  p.planes = p.row_chunks == 1 ? clamped(chunk_voxels / (dy.h * dy.w), 1, dy.d) : 1;
  p.plane_chunks = ceil_div(dy.d, p.planes);
  p.chunks = dy.n * p.row_chunks * p.plane_chunks;
}

Partition make_partition(const View<const float>& dy, int64_t in, int k, int stride) {
  // Enough items to keep many cores busy, as long as adding up the pieces' sums stays cheap. An item's sums
  // stay in a share of the level-2 cache. Blocks of inputs are parted first: each of their items copies its
  // own inputs, and dy again; a strided correlation copies eight voxels of x for one of dy. Groups, unlike
  // pieces, leave the sums as they are: there may be fewer for fewer threads, and less is copied.
  constexpr int64_t all_bytes = 4 << 20, item_bytes = 448 << 10, wanted_items = 64;
  const int64_t least_group = stride == 1 ? 1 : 64 / lanes;
  Partition p{};
  p.taps = int64_t{k} * k * k;
  p.blocks = ceil_div(dy.c, lanes), p.in_blocks = ceil_div(in, channel_block);
  cut_voxels(p, dy, stride);
  const auto bytes = [](int64_t floats) { return floats * static_cast<int64_t>(sizeof(float)); };
  const int64_t most_groups = p.in_blocks * ceil_div(p.blocks, least_group),
                wanted = ceil_div(wanted_items, most_groups),
                affordable = all_bytes / bytes(p.weight_floats());
  p.pieces = clamped(wanted < affordable ? wanted : affordable, 1, p.chunks);
  p.group = p.blocks, p.in_group = p.in_blocks;
  const auto groups = [&] {
    p.groups = ceil_div(p.blocks, p.group), p.in_groups = ceil_div(p.in_blocks, p.in_group);
    return p.items() >= clamped(8 * thread_count(), 1, wanted_items) &&
           bytes(p.group * p.in_group * p.pair_floats()) <= item_bytes;
  };
  while (!groups()) {
    if (p.in_group > 1) {
      p.in_group = ceil_div(p.in_group, 2);
    } else if (p.group > least_group) {
      p.group = ceil_div(p.group, 2);
    } else {
      break;
    }
  }
  return p;
}

// dweight[o][i][tap] += sums[tap][i][lanes], for `outs` output channels and the `ins` input channels of a
// block; target is the first of them.
void add_sums(float* target, const float* sums, int64_t taps, int64_t in_channels, int64_t outs,
              int64_t ins) {
  float transposed[tap_floats];
  for (int64_t i = 0; i < ins; ++i) {
    for (int64_t tap = 0; tap < taps; ++tap)
      store(transposed + tap * lanes, load(sums + (tap * channel_block + i) * lanes));
    add_taps(target + i * taps, in_channels * taps, outs, transposed, taps);
  }
}

template <int K, int Stride, int Padding>
class Gradient {
 public:
  Gradient(float* dweight, const View<const float>& dy, const View<const float>& x)
      : dweight_(dweight),
        dy_(dy),
        x_(x),
        p_(make_partition(dy, x.c, K, Stride)),
        copies_dy_(K > 1 && dy.c != lanes),
        copies_x_(K > 1 && x.c > channel_block),
        slots_(Stride * (p_.planes - 1) + K),
        slot_rows_(Stride * (p_.rows - 1) + K) {}

  void run(WorkspaceScope& scope) const {
    const bool whole = p_.pieces == 1;  // then an item's sums are gradients
    const int64_t thread_floats =
        (whole ? p_.group * p_.in_group * p_.pair_floats() : 0) + dy_floats() + x_floats();
    float* const scratch = scope.allocate<float>(static_cast<size_t>(thread_count() * thread_floats));
    float* const sums =
        whole ? nullptr : scope.allocate<float>(static_cast<size_t>(p_.pieces * p_.weight_floats()));
    parallel_for(p_.items(), 1,
                 [&](int64_t item) { run_item(item, scratch + thread_index() * thread_floats, sums); });
    if (whole) return;
    parallel_for(p_.blocks * p_.in_blocks, 1, [&](int64_t pair) { add_pieces(pair, sums); });
  }

 private:
  static constexpr int wide = gradient_channels<K>;

  // A chunk of dy, and the copies of its operands: dy's [block][plane][row][w][lanes], x's [block][slot of a
  // plane][row][w][channel_block].
  struct Chunk {
    int64_t n, d, h, planes, rows;
    float *dy, *x;
  };
  struct Item {
    int64_t first_block, last_block, first_in, last_in;
    float* sums;  // of its pairs
    int64_t block_stride, in_stride;
    float* pair(int64_t block, int64_t in) const {
      return sums + (block - first_block) * block_stride + (in - first_in) * in_stride;
    }
  };

  int64_t dy_block() const { return p_.planes * p_.rows * dy_.w * lanes; }
  int64_t dy_floats() const { return copies_dy_ ? p_.group * dy_block() : 0; }
  int64_t x_row() const { return x_.w * channel_block; }
  int64_t x_block() const { return slots_ * slot_rows_ * x_row(); }
  int64_t x_floats() const { return copies_x_ ? p_.in_group * x_block() : 0; }

  Chunk chunk(int64_t index) const {
    Chunk c{};
    c.d = index % p_.plane_chunks * p_.planes;
    c.h = index / p_.plane_chunks % p_.row_chunks * p_.rows;
    c.n = index / p_.plane_chunks / p_.row_chunks;
    c.planes = clamped(dy_.d - c.d, 0, p_.planes), c.rows = clamped(dy_.h - c.h, 0, p_.rows);
    return c;
  }

  void run_item(int64_t index, float* scratch, float* sums) const {
    const int64_t in_group = index % p_.in_groups * p_.in_group,
                  group = index / p_.in_groups % p_.groups * p_.group,
                  piece = index / p_.in_groups / p_.groups;
    Item item{group,           clamped(p_.blocks, 0, group + p_.group),
              in_group,        clamped(p_.in_blocks, 0, in_group + p_.in_group),
              nullptr,         0,
              p_.pair_floats()};
    if (sums == nullptr) {
      item.sums = scratch, item.block_stride = p_.in_group * p_.pair_floats();
      scratch += p_.group * p_.in_group * p_.pair_floats();
    } else {
      item.block_stride = p_.in_blocks * p_.pair_floats();
      item.sums = sums + piece * p_.weight_floats() + group * item.block_stride + in_group * item.in_stride;
    }
    const int64_t first = piece_begin(p_.chunks, p_.pieces, piece),
                  last = piece_begin(p_.chunks, p_.pieces, piece + 1);
    for (int64_t i = first; i < last; ++i) {
      Chunk c = chunk(i);
      c.dy = scratch, c.x = scratch + dy_floats();
      copy_dy(c, item);
      copy_x(c, item, i > first && i % p_.plane_chunks != 0);
      Prefetcher ahead;
      if (i + 1 < last) {
        ahead = operands(chunk(i + 1), item);
      } else if (sums == nullptr) {
        ahead.add(gradients(item));
      }
      run_chunk(c, item, i == first, ahead);
    }
    if (sums != nullptr) return;
    for (int64_t block = item.first_block; block < item.last_block; ++block) {
      for (int64_t in = item.first_in; in < item.last_in; ++in) add(block, in, item.pair(block, in));
    }
  }

  void run_chunk(const Chunk& c, const Item& item, bool first, Prefetcher& ahead) const {
    const int64_t tiles = ceil_div(clamped(x_.c, 1, channel_block), wide),
                  pairs = (item.last_block - item.first_block) * (item.last_in - item.first_in),
                  lines = ceil_div(ahead.lines(), pairs * K * K * tiles * c.planes * c.rows);
    for (int64_t in = item.first_in; in < item.last_in; ++in) {
      for (int64_t block = item.first_block; first && block < item.last_block; ++block)
        std::memset(item.pair(block, in), 0, static_cast<size_t>(p_.pair_floats()) * sizeof(float));
      for (int kd = 0; kd < K; ++kd) {
        for (int kh = 0; kh < K; ++kh) {
          for (int64_t block = item.first_block; block < item.last_block; ++block) {
            GradientArguments a{};
            a.sums = item.pair(block, in) + (kd * K + kh) * K * channel_block * lanes;
            a.prefetcher = &ahead, a.lines = lines;
            run_row_of_taps(a, c, item, block, in, kd, kh);
          }
        }
      }
    }
  }

  // All input channels of a block for one block of output channels, one row of taps and a chunk.
  void run_row_of_taps(GradientArguments& a, const Chunk& c, const Item& item, int64_t block, int64_t in,
                       int kd, int kh) const {
    // dy's planes and rows whose inputs lie in x.
    int64_t d = c.d, last_d = c.d + c.planes, h = c.h, last_h = c.h + c.rows;
    while (d < last_d && d * Stride - Padding + kd < 0) ++d;
    while (d < last_d && (last_d - 1) * Stride - Padding + kd >= x_.d) --last_d;
    while (h < last_h && h * Stride - Padding + kh < 0) ++h;
    while (h < last_h && (last_h - 1) * Stride - Padding + kh >= x_.h) --last_h;
    if (d == last_d || h == last_h) return;
    const int64_t xd = d * Stride - Padding + kd, xh = h * Stride - Padding + kh;
    a.x_width = x_.w, a.dy_width = dy_.w, a.planes = last_d - d, a.rows = last_h - h;
    a.out_channels = lanes, a.sum_stride = channel_block * lanes;
    if (copies_dy_) {
      a.dy_stride_w = lanes, a.dy_stride_row = dy_.w * lanes, a.dy_stride_plane = p_.rows * a.dy_stride_row;
      a.dy = c.dy + (block - item.first_block) * dy_block() + (d - c.d) * a.dy_stride_plane +
             (h - c.h) * a.dy_stride_row;
    } else {
      a.dy_stride_w = dy_.stride_w, a.dy_stride_row = dy_.stride_h, a.dy_stride_plane = dy_.stride_d;
      a.dy = dy_.at(c.n, d, h) + block * lanes;
      a.out_channels = clamped(dy_.c - block * lanes, 0, lanes);
    }
    if (copies_x_) {
      a.x_stride_w = channel_block, a.x_stride_row = Stride * x_row();
      a.x_stride_plane = Stride * slot_rows_ * x_row();
      a.x = x_copy(c, in - item.first_in, xd, xh);
    } else {
      a.x_stride_w = x_.stride_w, a.x_stride_row = Stride * x_.stride_h;
      a.x_stride_plane = Stride * x_.stride_d;
      a.x = x_.at(c.n, xd, xh) + in * channel_block;
    }
    run_channels(a, clamped(x_.c - in * channel_block, 0, channel_block));
  }

  static void run_channels(GradientArguments& a, int64_t channels) {
    const float* const x = a.x;
    float* const sums = a.sums;
    for (int64_t c = 0; c < channels;) {
      a.x = x + c, a.sums = sums + c * lanes;
      const int64_t left = channels - c;
      if (left >= wide) {
        run_tile<wide>(a), c += wide;
      } else if (wide > 4 && left >= 4) {
        run_tile<4>(a), c += 4;
      } else if (left >= 2) {
        run_tile<2>(a), c += 2;
      } else {
        run_tile<1>(a), c += 1;
      }
    }
  }

  template <int Channels>
  static void run_tile(const GradientArguments& a) {
    with_block(a.out_channels,
               [&](const auto& block) { gradient_tile<K, Stride, Padding, Channels>(a, block); });
  }

  void copy_dy(const Chunk& c, const Item& item) const {
    if (!copies_dy_) return;
    for (int64_t d = 0; d < c.planes; ++d) {
      for (int64_t h = 0; h < c.rows; ++h) {
        const float* const from = dy_.at(c.n, c.d + d, c.h + h);
        float* const to = c.dy + (d * p_.rows + h) * dy_.w * lanes;
        for (int64_t block = item.first_block; block < item.last_block; ++block)
          copy_row<lanes>(to + (block - item.first_block) * dy_block(), from + block * lanes, dy_.stride_w,
                          dy_.w, dy_.c - block * lanes);
      }
    }
  }

  // Planes of one-plane chunks go round a ring, so that those that the chunk before has copied stay.
  int64_t slot(const Chunk& c, int64_t xd) const {
    return p_.planes == 1 ? (xd + K) % K : xd - (c.d * Stride - Padding);
  }
  float* x_copy(const Chunk& c, int64_t in, int64_t xd, int64_t xh) const {
    return c.x + in * x_block() + (slot(c, xd) * slot_rows_ + xh - (c.h * Stride - Padding)) * x_row();
  }
  void copy_x(const Chunk& c, const Item& item, bool continued) const {
    if (!copies_x_) return;
    const int64_t first_d = c.d * Stride - Padding, last_d = first_d + Stride * (c.planes - 1) + K,
                  first_h = c.h * Stride - Padding, last_h = first_h + Stride * (c.rows - 1) + K,
                  kept = continued && p_.planes == 1 ? first_d + K - Stride : first_d;
    for (int64_t d = clamped(kept, 0, x_.d); d < clamped(last_d, 0, x_.d); ++d) {
      for (int64_t h = clamped(first_h, 0, x_.h); h < clamped(last_h, 0, x_.h); ++h) {
        const float* const from = x_.at(c.n, d, h);
        for (int64_t in = item.first_in; in < item.last_in; ++in)
          copy_row<channel_block>(x_copy(c, in - item.first_in, d, h), from + in * channel_block, x_.stride_w,
                                  x_.w, x_.c - in * channel_block);
      }
    }
  }

  // A block of `Floats` channels of a row, of which `channels` exist; the others are zeros.
  template <int64_t Floats>
  static void copy_row(float* to, const float* from, int64_t stride, int64_t width, int64_t channels) {
    for (int64_t w = 0; w < width; ++w, from += stride, to += Floats) {
      if (channels >= Floats) {
#pragma GCC unroll 4
        for (int64_t c = 0; c < Floats; c += lanes) store(to + c, load(from + c));
      } else {
        for (int64_t c = 0; c < Floats; c += lanes)
          store(to + c, c < channels ? load_up_to(from + c, channels - c) : Vec{});
      }
    }
  }

  // What the next chunk of an item is the first to need.
  Prefetcher operands(const Chunk& next, const Item& item) const {
    Prefetcher result;
    const int64_t c = item.first_block * lanes, in = item.first_in * channel_block;
    result.add(region(dy_, next.n, next.d, next.h, 0, next.planes, next.rows, dy_.w, c,
                      clamped(dy_.c, 0, item.last_block * lanes) - c));
    result.add(region(x_, next.n, next.d * Stride - Padding + K - Stride, next.h * Stride - Padding, 0,
                      Stride * next.planes, Stride * (next.rows - 1) + K, x_.w, in,
                      clamped(x_.c, 0, item.last_in * channel_block) - in));
    return result;
  }

  // Of an item's weights.
  Region gradients(const Item& item) const {
    const int64_t in = item.first_in * channel_block, out = item.first_block * lanes,
                  ins = clamped(x_.c, 0, item.last_in * channel_block) - in,
                  outs = clamped(dy_.c, 0, item.last_block * lanes) - out;
    return {dweight_ + (out * x_.c + in) * p_.taps,
            line_floats,
            ceil_div(ins * p_.taps, line_floats),
            outs,
            x_.c * p_.taps,
            1,
            0};
  }

  void add(int64_t block, int64_t in, const float* pair) const {
    add_sums(dweight_ + (block * lanes * x_.c + in * channel_block) * p_.taps, pair, p_.taps, x_.c,
             clamped(dy_.c - block * lanes, 0, lanes), clamped(x_.c - in * channel_block, 0, channel_block));
  }

  // The sums of all pieces for a pair of blocks, in their order, into those of the first.
  void add_pieces(int64_t pair, float* sums) const {
    float* const target = sums + pair * p_.pair_floats();
    for (int64_t i = 0; i < p_.pair_floats(); i += lanes) {
      Vec sum = load(target + i);
      for (int64_t piece = 1; piece < p_.pieces; ++piece)
        sum += load(target + piece * p_.weight_floats() + i);
      store(target + i, sum);
    }
    add(pair / p_.in_blocks, pair % p_.in_blocks, target);
  }

  float* dweight_;
  View<const float> dy_, x_;
  Partition p_;
  bool copies_dy_, copies_x_;
  int64_t slots_, slot_rows_;
};

template <int K, int Stride, int Padding>
void run_gradient(float* dweight, const View<const float>& dy, const View<const float>& x, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  Gradient<K, Stride, Padding>(dweight, dy, x).run(scope);
}

}  // namespace

void correlation_gradient(float* dweight, View<const float> dy, View<const float> x, int kernel_size,
                          int stride, int padding, const Exec& exec) {
  if (kernel_size == 1) return run_gradient<1, 1, 0>(dweight, dy, x, exec);
  if (kernel_size == 2) return run_gradient<2, 2, 0>(dweight, dy, x, exec);
  if (stride == 1 && padding == 1) return run_gradient<3, 1, 1>(dweight, dy, x, exec);
  if (stride == 1) return run_gradient<3, 1, 0>(dweight, dy, x, exec);
  if (padding == 1) return run_gradient<3, 2, 1>(dweight, dy, x, exec);
  run_gradient<3, 2, 0>(dweight, dy, x, exec);
}

}  // namespace vg::kernels::cpu::VG_ISA
