// The gradient of a correlation's weights: a sum over all voxels for each pair of channels and each tap.
//
// The voxels are cut into pieces, each with partial sums of its own, which are added in the order of the
// pieces. How many pieces there are depends on the shapes alone, so that the result is the same bits for any
// number of threads.
#include "kernels/common/parallel.h"
#include "kernels/conv3d/conv3d_passes_cpu.h"
#include "kernels/conv3d/conv3d_tile_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

constexpr int64_t chunk_rows = 16;  // rows that one tile sums up before it touches memory

// Pieces of voxels times groups of weights are the items of work.
struct Partition {
  int64_t in, blocks, taps;
  int64_t chunks, planes;          // the voxels: chunks of rows outside, planes of all samples inside
  int64_t group_blocks, groups;    // blocks of output channels in a group
  int64_t depth_groups, kernel_d;  // taps along D apart or together
  int64_t pieces;

  int64_t block_floats() const { return taps * in * lanes; }
  int64_t weight_floats() const { return blocks * block_floats(); }
  int64_t items() const { return pieces * groups * depth_groups; }
};

int64_t clamped(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : (value > high ? high : value);
}

Partition make_partition(const View<const float>& dy, int64_t in, int k) {
  // The sums of a group stay in a share of the level-2 cache while its voxels pass by. Enough items to keep
  // many cores busy, as long as adding up the pieces' sums stays cheap.
  constexpr int64_t group_bytes = 256 << 10, all_bytes = 8 << 20, wanted_items = 64;
  Partition p{};
  p.in = in, p.taps = int64_t{k} * k * k, p.kernel_d = k;
  p.blocks = (dy.c + lanes - 1) / lanes;
  const int64_t block_bytes = p.block_floats() * static_cast<int64_t>(sizeof(float));
  p.group_blocks = clamped(group_bytes / block_bytes, 1, p.blocks);
  p.groups = (p.blocks + p.group_blocks - 1) / p.group_blocks;
  p.depth_groups = block_bytes > group_bytes ? k : 1;
  p.chunks = (dy.h + chunk_rows - 1) / chunk_rows;
  p.planes = dy.n * dy.d;
  const int64_t wanted = wanted_items / (p.groups * p.depth_groups);
  const int64_t affordable = clamped(all_bytes / (block_bytes * p.blocks), 1, wanted_items);
  p.pieces = clamped(wanted < affordable ? wanted : affordable, 1, p.chunks * p.planes);
  return p;
}

template <int K, int Stride, int Padding>
struct Gradient {
  View<const float> dy, x;
  Partition partition;
  float* sums;  // [piece][block of out][kd][kh][kw][in][lanes]

  template <int Channels>
  static void run_tile(const GradientArguments& a) {
    with_block(a.out_channels,
               [&](const auto& block) { gradient_tile<K, Stride, Padding, Channels>(a, block); });
  }

  // All input channels for one block of output channels, one row of taps and rows [first, last) of a plane.
  void run_row_of_taps(float* block_sums, int64_t n, int64_t d, int64_t first, int64_t last, int64_t block,
                       int kd, int kh) const {
    const int64_t xd = d * Stride - Padding + kd;
    // dy's rows whose input row lies in x.
    while (first < last && first * Stride - Padding + kh < 0) ++first;
    while (first < last && (last - 1) * Stride - Padding + kh >= x.h) --last;
    if (xd < 0 || xd >= x.d || first == last) return;
    GradientArguments a{};
    a.x_stride_w = x.stride_w, a.x_stride_row = Stride * x.stride_h, a.x_width = x.w;
    a.dy = dy.at(n, d, first) + block * lanes;
    a.dy_stride_w = dy.stride_w, a.dy_stride_row = dy.stride_h, a.dy_width = dy.w;
    a.out_channels = dy.c - block * lanes < lanes ? dy.c - block * lanes : lanes;
    a.rows = last - first;
    a.sum_stride = x.c * lanes;
    const float* const in = x.at(n, xd, first * Stride - Padding + kh);
    float* const row_sums = block_sums + (kd * K + kh) * K * a.sum_stride;
    constexpr int wide = gradient_channels<K>;
    for (int64_t c = 0; c < x.c;) {
      a.x = in + c, a.sums = row_sums + c * lanes;
      const int64_t left = x.c - c;
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

  void run_item(int64_t item) const {
    const Partition& p = partition;
    const int64_t depth_group = item % p.depth_groups, group = item / p.depth_groups % p.groups,
                  piece = item / p.depth_groups / p.groups;
    const int kd_first = p.depth_groups == 1 ? 0 : static_cast<int>(depth_group),
              kd_last = p.depth_groups == 1 ? K : kd_first + 1;
    const int64_t first_block = group * p.group_blocks, last_block = first_block + p.group_blocks < p.blocks
                                                                         ? first_block + p.group_blocks
                                                                         : p.blocks;
    float* const piece_sums = sums + piece * p.weight_floats();
    const int64_t depth_floats = p.block_floats() / p.kernel_d;
    for (int64_t block = first_block; block < last_block; ++block) {
      std::memset(piece_sums + block * p.block_floats() + kd_first * depth_floats, 0,
                  static_cast<size_t>((kd_last - kd_first) * depth_floats) * sizeof(float));
    }
    const int64_t voxels = p.chunks * p.planes;
    for (int64_t i = piece_begin(voxels, p.pieces, piece); i < piece_begin(voxels, p.pieces, piece + 1);
         ++i) {
      const int64_t first = i / p.planes * chunk_rows, plane = i % p.planes,
                    last = first + chunk_rows < dy.h ? first + chunk_rows : dy.h;
      for (int64_t block = first_block; block < last_block; ++block) {
        for (int kd = kd_first; kd < kd_last; ++kd) {
          for (int kh = 0; kh < K; ++kh)
            run_row_of_taps(piece_sums + block * p.block_floats(), plane / dy.d, plane % dy.d, first, last,
                            block, kd, kh);
        }
      }
    }
  }
};

// dweight[o][i][tap] += the sum of the pieces, for the `lanes` output channels of a block and one i.
void add_pieces(float* dweight, const float* sums, const Partition& p, int64_t out, int64_t block,
                int64_t in) {
  const int64_t outs = out - block * lanes < lanes ? out - block * lanes : lanes;
  const float* const source = sums + block * p.block_floats() + in * lanes;
  float taps[tap_floats];
  for (int64_t tap = 0; tap < p.taps; ++tap) {
    Vec sum{};
    for (int64_t piece = 0; piece < p.pieces; ++piece)
      sum += load(source + piece * p.weight_floats() + tap * p.in * lanes);
    store(taps + tap * lanes, sum);
  }
  add_taps(dweight + (block * lanes * p.in + in) * p.taps, p.in * p.taps, outs, taps, p.taps);
}

template <int K, int Stride, int Padding>
void run_gradient(float* dweight, const View<const float>& dy, const View<const float>& x, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const Partition partition = make_partition(dy, x.c, K);
  float* const sums =
      scope.allocate<float>(static_cast<size_t>(partition.pieces * partition.weight_floats()));
  const Gradient<K, Stride, Padding> gradient{dy, x, partition, sums};
  parallel_for(partition.items(), 1, [&](int64_t item) { gradient.run_item(item); });
  parallel_for(partition.blocks * x.c, 8,
               [&](int64_t i) { add_pieces(dweight, sums, partition, dy.c, i / x.c, i % x.c); });
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
