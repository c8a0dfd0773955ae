// Both gradients of a convolution with kernel 3, stride 1 and padding 1 between 16 channels (or from more to
// 16) on tensor cores, where the gradient of its output is still to be made: a norm is behind it. Each plane
// of that gradient, with one voxel around the tile, is made in shared memory, serves as input of the
// transposed convolution, dx[v] = sum over taps k of w[k]^T g[v + 1 - k], and as the halo side of the
// weights' gradient, dw[k] = sum over v of g[v + 1 - k] x[v]^T, and is never stored. Four warps compute the
// former, six the latter.
#include "kernels/common/ptx/barrier.cuh"
#include "kernels/common/ptx/integer.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_gated.cuh"
#include "kernels/conv3d/conv3d_halo.cuh"
#include "kernels/conv3d/conv3d_halo_products.cuh"
#include "kernels/conv3d/conv3d_norm_gradient.cuh"

namespace vg::kernels::cuda {

namespace {

constexpr HaloGradientsTile tile;
constexpr int channels = HaloGradientsTile::channels, threads = HaloGradientsTile::threads,
              warps = threads / 32, height = tile.height(), width = tile.width(),
              ring = HaloGradientsTile::ring, g_plane_bytes = tile.g_plane_bytes(),
              x_plane_bytes = tile.x_plane_bytes(), x_row_bytes = width * channels * 2,
              output_pitch = HaloGradientsTile::output_pitch;
using Products = HaloProducts<0>;  // of the gradient of the input
static_assert(Products::height == height && Products::width == width);

template <bool Gated>
struct Arguments {
  View<bfloat16> dx;
  View<const bfloat16> g, x;  // g: what is read in its place, see NormGradientSource
  float *partials, *moments;
  const uint32_t* packed;
  HaloGrid grid;
  NormArguments norm_of_x;
  NormGradientSource source;
  std::conditional_t<Gated, GateArguments, NoGate> gate;
};

// What a block's threads read again in each step, always 16 bytes: where the block's tile lies, and what is
// needed to make x and g.
struct Place {
  int n, h, w, group;
};
struct Making {
  int h, w;
  float slope;
  int more;  // of x: the first 8 channels that have a norm; of g: its sample
};
struct Block {
  Place place;
  Making x, g;
};

// The planes of a block in shared memory, and the way there. A plane of g is made of two that are copied: one
// to its place, one beside. Plane i of g is at.d - 1 + i, that of x at.d + i. Where a thread copies from and
// to is found anew in each step: it would hold twenty registers while the products run.
// With `Gated` the first 16 channels of x are made of a skip connection and the scores of an attention gate,
// which are copied two steps ahead: others read them than have copied them.
template <bool Narrow, bool Gated>
class Planes {
 public:
  using Table = std::conditional_t<Gated, GateTable<channels>, NormTable<channels>>;
  using Scores = ScoreRows<height, width, 0>;
  static_assert(2 * Scores::bytes == tile.score_bytes() && Scores::copies <= threads);
  using GradientTable = NormGradientTable<channels, Narrow>;

  // `block` in shared memory.
  __device__ __forceinline__ Planes(const Arguments<Gated>& a, const HaloPosition& at, uint32_t shared,
                                    Block* block, float* norm_floats, float* gradient_floats)
      : a_(a),
        norm_floats_(norm_floats),
        gradient_(ptx::shared_address(gradient_floats)),
        shared_(shared),
        block_(ptx::shared_address(block)),
        d_(at.d),
        last_(at.march - 1) {
    if constexpr (Gated) {
      [[maybe_unused]] const Table fill(norm_floats, a.norm_of_x, a.gate, at.n, at.group * channels,
                                        channels);
    } else {
      const Table norm(norm_floats, a.norm_of_x, at.n, at.group * channels);
      if (threadIdx.x == 0) block->x = {at.h, at.w, norm.slope(), norm.first_chunk()};
    }
    const GradientTable gradient(gradient_floats, a.source, at.n, 0);
    if (threadIdx.x == 0) {
      block->g = {at.h - 1, at.w - 1, gradient.slope(), static_cast<int>(at.n)};
      block->place = {static_cast<int>(at.n), at.h, at.w, static_cast<int>(at.group)};
    }
  }

  __device__ __forceinline__ uint32_t g_plane(int i) const { return shared_ + i % ring * g_plane_bytes; }
  __device__ __forceinline__ uint32_t x_plane(int i) const {
    return shared_ + (ring + 1) * g_plane_bytes + i % 2 * x_plane_bytes;
  }
  __device__ __forceinline__ uint32_t weights() const { return x_plane(0) + 2 * x_plane_bytes; }

  // What the first step needs. A barrier must follow.
  __device__ __forceinline__ void begin() const {
    __syncthreads();  // the place and the tables are there
    copy_weights<threads, Products::packed_words * 4>(weights(),
                                                      a_.packed + place().group * Products::packed_words);
    const GCopy copy = g_copy();
    copy_scores(0);
    copy_scores(1);
    // Beside the first plane lies what the second is made of too, in the place of the fourth.
#pragma unroll 1
    for (int i = 0; i < 3; ++i) copy(g_plane(i), d_ - 1 + i);
    copy_beside(copy, 0, beside());
    copy_beside(copy, 1, g_plane(3));
    x_copy(place())(x_plane(0), d_);
    ptx::commit_copies();
    ptx::wait_copies<0>();
    if constexpr (Gated) __syncthreads();
    make(0, beside());
    make(1, g_plane(3));
    copy_beside(copy, 2, beside());
    ptx::commit_copies();
    normalise_x(0);
    ptx::wait_copies<0>();
    make(2, beside());
  }

  // Between a step's barrier and its products: copies for the next, whose places are done with.
  __device__ __forceinline__ void copy_next(int i) const {
    if (i < last_) {
      const GCopy copy = g_copy();
      copy(g_plane(i + 3), d_ + i + 2);
      copy_beside(copy, i + 3, beside());
      x_copy(place())(x_plane(i + 1), d_ + i + 1);
      copy_scores(i + 2);
    }
    ptx::commit_copies();
  }
  // Any time later, before the next barrier: makes of them what the products need.
  __device__ __forceinline__ void make_next(int i) const {
    ptx::wait_copies<0>();
    if (i >= last_) return;
    make(i + 3, beside());
    normalise_x(i + 1);
  }

  // Read from shared memory.
  __device__ __forceinline__ Place place() const {
    uint32_t words[4];
    ptx::load_shared_16(words, block_ + offsetof(Block, place));
    return {static_cast<int>(words[0]), static_cast<int>(words[1]), static_cast<int>(words[2]),
            static_cast<int>(words[3])};
  }
  // Of the norm of x: of the channels from this one of the group's on.
  __device__ __forceinline__ NormParameters parameters(int channel) const {
    return table(making(offsetof(Block, x))).parameters(norm_floats_, channel);
  }

 private:
  __device__ __forceinline__ Making making(uint32_t offset) const {
    uint32_t words[4];
    ptx::load_shared_16(words, block_ + offset);
    return {static_cast<int>(words[0]), static_cast<int>(words[1]), __uint_as_float(words[2]),
            static_cast<int>(words[3])};
  }
  __device__ __forceinline__ Table table(const Making& of_x) const {
    return Table(norm_floats_, of_x.slope, a_.norm_of_x.relu, of_x.more);
  }
  using GCopy = PlaneCopy<threads, height + 2, width + 2, channels>;
  using XCopy = PlaneCopy<threads, height, width, channels>;
  __device__ __forceinline__ GCopy g_copy() const {
    const Place at = place();
    return GCopy(a_.g, at.n, at.h - 1, at.w - 1, ptx::thread_index());
  }
  __device__ __forceinline__ XCopy x_copy(const Place& at) const {
    const int first = at.group * channels;
    View<const bfloat16> x = a_.x.channels(first, first + channels);
    if constexpr (Gated) x.data += at.group > 0 ? a_.gate.distance : 0;
    return XCopy(x, at.n, at.h, at.w, ptx::thread_index());
  }
  __device__ __forceinline__ uint32_t scores(int i) const {
    return weights() + Products::packed_words * 4 + i % 2 * Scores::bytes;
  }
  // Those of plane i, if the block needs them.
  __device__ __forceinline__ void copy_scores(int i) const {
    if constexpr (Gated) {
      const Place at = place();
      if (at.group > 0 || i > last_) return;
      const int copy = ptx::thread_index();
      const View<const float>& of = a_.gate.scores;
      Scores::copy(scores(i), of,
                   Scores::in_row(of, Scores::place(of, at.n, at.w, copy), at.h + Scores::row_of(copy)),
                   d_ + i, copy);
    }
  }
  __device__ __forceinline__ uint32_t beside() const {
    return shared_ + ring * g_plane_bytes;
  }

  __device__ __forceinline__ void copy_beside(const GCopy& copy, int i, uint32_t beside) const {
    if constexpr (Narrow) {
      // Each thread copies for itself: the two voxels of 8 bytes of which one is that of its channels.
      const uint32_t plane = g_plane(i);
      copy.template for_each_copied<1>(plane, d_ - 1 + i, 0, [&](uint32_t address, const bfloat16* from) {
        ptx::copy_16_async(address - plane + beside, a_.source.narrow + ((from - a_.source.x) >> 2 & ~7),
                           true);
      });
    } else {
      copy(beside, d_ - 1 + i, a_.source.x_distance);
    }
  }
  __device__ __forceinline__ void make(int i, uint32_t beside) const {
    const uint32_t plane = g_plane(i);
    const Making of_g = making(offsetof(Block, g));
    const GCopy copy(a_.g, of_g.more, of_g.h, of_g.w, ptx::thread_index());
    const GradientTable gradient(gradient_, of_g.slope, a_.source.norm.relu);
    const int chunk = copy.own_chunk();
    // Read once, as far as there are registers: the weights of a narrow gradient take some.
    const typename GradientTable::Parameters first = gradient.parameters(chunk, 0),
                                             second = gradient.parameters(chunk, 1);
    const auto parameters_of = [&](int half) {
      return half == 0 ? first : Narrow ? gradient.parameters(chunk, 1) : second;
    };
    copy.template for_each_copied<1>(plane, d_ - 1 + i, 0, [&](uint32_t address, const bfloat16* from) {
      const uint32_t other = address - plane + beside;
      if constexpr (Narrow) {
        gradient.apply_narrow(chunk, parameters_of, other, ((from - a_.source.x) & channels) != 0, address,
                              nullptr);
      } else {
        gradient.apply(parameters_of, address, other, nullptr);
      }
    });
  }
  __device__ __forceinline__ void normalise_x(int i) const {
    if constexpr (Gated) {
      const Place at = place();
      const Table gate(norm_floats_, at.group == 0 ? channels / 8 : 0);
      gate.template apply<1>(x_copy(at), x_plane(i), d_ + i, 0,
                             [&](int column, int row) { return Scores::at(scores(i), column, row); });
    } else {
      const Making of_x = making(offsetof(Block, x));
      // Where it has been copied from does not matter.
      const XCopy copy(a_.x, 0, of_x.h, of_x.w, ptx::thread_index());
      copy.template normalise<1>(table(of_x), x_plane(i), d_ + i, 0);
    }
  }

  const Arguments<Gated>& a_;
  float* norm_floats_;
  uint32_t gradient_, shared_, block_;
  int d_, last_;
};

// Calls multiply(0) to multiply(count - 1), before the turn-th of which, or behind all, what the next step
// needs is made. See HaloGradientsTile.
template <class P, class Multiply>
__device__ __forceinline__ void make_amid(const P& planes, int step, int count, int turn,
                                          const Multiply& multiply) {
  int i = 0;
#pragma unroll 1
  for (int pass = 0; pass < 2; ++pass) {
    const int end = pass == 0 ? turn : count;
#pragma unroll 1
    for (; i < end; ++i) multiply(i);
    if (pass == 0) planes.make_next(step);
  }
}

// The gradient of the input by warp `index` of four: 16h x 8w voxels a plane. Like halo_kernel.
template <bool Sums, class P, class Arguments>
__device__ __forceinline__ void input_gradient(float (&totals)[1], const P& planes, const Arguments& a,
                                               const HaloPosition& at, int index) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, q = lane % 4;
  const int warp_h = index / Products::warps_w * 2 * Products::rows, warp_w = index % Products::warps_w * 8;
  uint32_t inputs[3][1];
#pragma unroll
  for (int kw = 0; kw < 3; ++kw)
    inputs[kw][0] = halo_offset(channels, width + 2, warp_h + lane / 8 % 2 * Products::rows,
                                warp_w + lane % 8 + kw, lane / 16);
  const uint32_t lane_weights = planes.weights() + lane * 16;
  const int turn = index < 2 ? 1 : 3;  // see HaloGradientsTile
#pragma unroll 1
  for (int i = 0; i < at.march; ++i) {
    ptx::barrier_of_branches<threads>();
    planes.copy_next(i);
    float sums[Products::rows][Products::fragments][4];
    start_sums(sums, nullptr);
    const auto multiply = [&](int kd) {
      multiply_piece<Products>(sums, inputs, planes.g_plane(i + kd),
                               lane_weights + kd * Products::piece_bytes, 0);
    };
    make_amid(planes, i, 3, turn, multiply);
    const Place place = planes.place();
    const auto store = [&](const auto& of_voxel) {
      store_tile(totals, a.dx, sums, place.n, at.d + i, place.h + warp_h, place.w + warp_w + g,
                 place.group * channels + q * Products::lane_channels, of_voxel);
    };
    if constexpr (Sums) {
      float own[24];  // read once for all voxels of the lane
      const NormParameters shared = planes.parameters(q * Products::lane_channels);
#pragma unroll
      for (int c = 0; c < Products::lane_channels; ++c) {
        own[c] = shared.mean(c);
        own[8 + c] = shared.scale(c);
        own[16 + c] = shared.shift(c);
      }
      store(VoxelNormGradients{a.x, shared.at(own)});
    } else {
      store(NoVoxels{});
    }
  }
}

// The gradient of the weights by warp `index` of six: one kw and all (kd, kh) over half of the tile's
// columns. Like halo_wgrad_kernel, but that g is the side with the halo: sums[tap] are those of tap 26 - tap.
template <class P>
__device__ __forceinline__ void weight_gradient(float* shared, const P& planes, const HaloPosition& at,
                                                int index) {
  constexpr int rows = height / 4;
  const int lane = static_cast<int>(threadIdx.x) % 32, kw = index % 3, part = index / 3;
  const uint32_t g_lane = halo_offset(channels, width + 2, lane / 16 * rows, part * 8 + lane % 8 + kw,
                                      lane / 8 % 2),
                 x_lane = halo_offset(channels, width, lane / 8 % 2 * rows, part * 8 + lane % 8, lane / 16);
  const int turn = index < 4 ? 1 : 2;  // see HaloGradientsTile
  float sums[9][2][4] = {};
#pragma unroll 1
  for (int i = 0; i < at.march; ++i) {
    ptx::barrier_of_branches<threads>();
    planes.copy_next(i);
    make_amid(planes, i, 2, turn, [&](int half) {
      uint32_t of_kd[3];
      for (int kd = 0; kd < 3; ++kd)
        of_kd[kd] = planes.g_plane(i + kd) + half * (2 * rows * Products::row_bytes) + g_lane;
      multiply_planes<rows, Products::row_bytes, x_row_bytes>(
          sums, of_kd, planes.x_plane(i) + half * (2 * rows * x_row_bytes) + x_lane);
    });
  }
  // Added in order in shared memory, as [output channel][input channel][27].
  for (int turn = 0; turn < 2; ++turn) {
    ptx::barrier_of_branches<threads>();
    if (part != turn) continue;
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const int out = lane / 4 + k / 2 % 2 * 8, in = k / 4 * 8 + lane % 4 * 2 + k % 2;
        float& sum = shared[out * output_pitch + in * 27 + 26 - (tap * 3 + kw)];
        sum = sums[tap][k / 4][k % 4] + (turn == 0 ? 0.0f : sum);
      }
    }
  }
}

template <bool Narrow, bool Gated>
__global__ void __launch_bounds__(threads, 1) halo_gradients_kernel(const Arguments<Gated> a) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  float* const shared_floats = reinterpret_cast<float*>(shared_memory);
  using P = Planes<Narrow, Gated>;
  __shared__ __align__(16) float norm_floats[P::Table::floats];
  __shared__ __align__(16) float gradient_floats[P::GradientTable::floats];
  __shared__ __align__(16) Block block;
  static_assert(sizeof(norm_floats) + sizeof(gradient_floats) + sizeof(block) <=
                HaloGradientsTile::table_bytes);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, index = warp / 4 * 2 + warp % 2;
  const HaloPosition at = halo_position(a.grid, height, width, a.dx.d);
  const P planes(a, at, ptx::shared_address(shared_memory), &block, norm_floats, gradient_floats);
  planes.begin();
  float totals[1] = {};
  if (warp % 4 >= 2) {
    input_gradient<!Narrow>(totals, planes, a, at, index);
    for (int turn = 0; turn < 2; ++turn) ptx::barrier_of_branches<threads>();
  } else {
    weight_gradient(shared_floats, planes, at, index);
  }
  __syncthreads();
  const int64_t run = a.dx.c * 27;
  float* const partial =
      a.partials + blockIdx.x / a.grid.groups * (channels * run) + at.group * channels * 27;
  for (int i = thread; i < channels * channels * 27; i += threads) {
    const int out = i / (channels * 27), rest = i % (channels * 27);
    partial[out * run + rest] = shared_floats[out * output_pitch + rest];
  }
  if constexpr (!Narrow)
    store_moments<warps, 1>(halo_moments(a.moments, a.grid, a.dx.c, channels),
                            shared_floats + channels * output_pitch, totals, channels);
}

struct Operands {
  View<bfloat16> dx;
  float* dweight;
  View<const bfloat16> g, x;  // with a gate x is the skip connection, but of all channels
  const InputNorm& norm;
  const float* weight;
};

// `request`: null with a narrow gradient.
template <bool Narrow, bool Gated = false>
void launch(const Operands& o, const NormGradientSource& source, const NormGradientRequest* request,
            int multiprocessors, const Exec& exec,
            const std::conditional_t<Gated, GateArguments, NoGate>& gate = {}) {
  require(o.g.c == channels && o.x.c % channels == 0 && input_norm_applies(o.norm),
          "both gradients of conv3d on tensor cores: ", o.x.c, " to ", o.g.c,
          " channels, or more than one slope");
  if (o.dx.elements() == 0) return;
  WorkspaceScope scope(*exec.workspace);
  const int64_t groups = o.x.c / channels, words = groups * Products::packed_words;
  uint32_t* const packed = scope.allocate<uint32_t>(static_cast<size_t>(words));
  pack_fragments_kernel<Products><<<blocks_for(words), block_threads, 0, stream_of(exec)>>>(
      packed, o.weight, HaloWeightOrder{27, o.x.c * 27, true}, words);
  check_launch();
  // halo_grid() takes two blocks a multiprocessor; here there is one.
  const HaloGrid grid = halo_grid(height, width, groups, o.g, (multiprocessors + 1) / 2);
  const int64_t pieces = grid.blocks() / groups, count = channels * o.x.c * 27;
  float* const partials = scope.allocate<float>(static_cast<size_t>(pieces * count));
  float* const moments = Narrow ? nullptr : allocate_moments(scope, pieces, o.dx.c);
  const auto kernel = halo_gradients_kernel<Narrow, Gated>;
  // More than 48 KiB must be asked for; halo_gradients_apply() has seen that the device has it.
  constexpr int shared_bytes = tile.shared_bytes() + (Gated ? tile.score_bytes() : 0);
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  kernel<<<blocks_for(grid.blocks(), 1), threads, shared_bytes, stream_of(exec)>>>(
      {o.dx, o.g, o.x, partials, moments, packed, grid, norm_arguments(o.norm, o.x.c), source, gate});
  check_launch();
  accumulate_pieces(o.dweight, partials, count, pieces, exec);
  if (request != nullptr) finish_norm_gradient(*request, moments, pieces, exec);
}

}  // namespace

void conv3d_backward_halo_tile(View<bfloat16> dx, float* dweight, const NormInputGradient& source,
                               const NormGradientRequest& of_x, const float* weight, int multiprocessors,
                               const Exec& exec) {
  launch<false>({dx, dweight, source.dy, of_x.x, of_x.norm, weight}, norm_gradient_source(source, {}), &of_x,
                multiprocessors, exec);
}

void conv3d_backward_halo_tile(View<bfloat16> dx, float* dweight, const NarrowGradient& source,
                               View<const bfloat16> x, const InputNorm& norm, const float* weight,
                               int multiprocessors, const Exec& exec) {
  launch<true>({dx, dweight, source.x, x, norm, weight}, norm_gradient_source(source, {}), nullptr,
               multiprocessors, exec);
}

void conv3d_backward_halo_tile(View<bfloat16> dx, float* dweight, const NarrowGradient& source,
                               const GatedInput& x, const float* weight, int multiprocessors,
                               const Exec& exec) {
  View<const bfloat16> places = x.skip;
  places.c *= 2;
  launch<true, true>({dx, dweight, source.x, places, x.gate.norm_of_x, weight},
                     norm_gradient_source(source, {}), nullptr, multiprocessors, exec, gate_arguments(x));
}

}  // namespace vg::kernels::cuda
