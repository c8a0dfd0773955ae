// Convolution with kernel 3, stride 2 and padding 1 as a matrix product on tensor cores, for the deep levels,
// whose extents (28 x 32 x 20 ... 7 x 8 x 5 outputs) tiles of 16 x 8 outputs waste; also the gradient of the
// transposed convolution with respect to its input. conv3d_strided_gemm_tile.h tells how positions and tiles
// are cut. A group of steps is one kd and 32 input channels; its nine steps are the taps.
#include "kernels/common/ptx/matrix.cuh"
#include "kernels/conv3d/conv3d_gemm.cuh"
#include "kernels/conv3d/conv3d_strided_gemm.cuh"

namespace vg::kernels::cuda {

namespace {

template <int WarpsC>
struct Tile : GemmFragmentWeights<64 * WarpsC> {
  static constexpr StridedGemmForwardTile shape{{}, WarpsC};
  static constexpr int threads = StridedGemmTile::threads, warps_c = WarpsC, columns = shape.columns(),
                       positions = shape.positions(), rows = shape.input_rows(),
                       input_bytes = shape.input_bytes(), weight_bytes = shape.weight_bytes(),
                       ahead = shape.ahead;
  static constexpr int weight_ring = shape.weight_ring;
  static constexpr int planes = 3, kernel_size = 9;  ///< groups of steps a channel, steps of a group
  static constexpr int row_padding = 0, fragment_rows = 4, fragment_pitch = 16, fragments = 8;
  using Sums = float[fragment_rows][fragments][4];
  using Rows = NeighbourRows<-1, fragment_rows>;
};

// What a block copies, step by step: weights of the step's tap, and with the first tap of a parity its tile
// of the input. Stands before the first group at the start.
template <class T>
class Copies {
 public:
  __device__ __forceinline__ Copies(const GemmProduct& p, int first, int column_block, int group_begin,
                                    int groups)
      : rows_(p.in, p.out, first),
        packed_(p.packed + (int64_t{column_block} * T::planes * p.chunks + group_begin - 1) * group_words),
        left_(groups + 1),
        kd_(group_begin / p.chunks),
        chunk_(group_begin % p.chunks - 1) {}

  // `weights`: where the step's are to lie; `input`: where a parity's tile does.
  __device__ __forceinline__ void copy(const GemmProduct& p, int step, uint32_t input, uint32_t weights) {
    if (step == 0) {
      --left_, packed_ += group_words;
      if (++chunk_ == p.chunks) chunk_ = 0, ++kd_;
    }
    if (left_ > 0) {
      if (strided_gemm_first(step)) rows_.copy(input, p.in, kd_, chunk_, strided_gemm_parity(step));
      copy_weights<T::threads, T::weight_bytes>(weights,
                                                packed_ + strided_gemm_tap(step) * (T::weight_bytes / 4));
    }
    ptx::commit_copies();
  }

 private:
  static constexpr int group_words = 9 * (T::weight_bytes / 4);

  ParityRows<T> rows_;
  const uint32_t* packed_;
  int left_, kd_, chunk_;
};

// sums += 32 channels of one tap.
template <class T>
__device__ __forceinline__ void multiply(typename T::Sums& sums, const typename T::Rows& rows, int tap,
                                         uint32_t input, uint32_t weights) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t a[T::fragment_rows][4];
#pragma unroll
    for (int i = 0; i < T::fragment_rows; ++i) rows.load(a[i], input, i, half, tap / 3 == 0, tap % 3 == 0);
#pragma unroll
    for (int pair = 0; pair < T::fragments / 2; ++pair) {
      uint32_t b[4];
      ptx::load_shared_16(b, weights + (half * T::columns / 16 + pair / 2 * 2 * T::warps_c + pair % 2) * 512);
#pragma unroll
      for (int i = 0; i < T::fragment_rows; ++i) {
        ptx::mma_m16n8k16(sums[i][2 * pair], a[i], b[0], b[1]);
        ptx::mma_m16n8k16(sums[i][2 * pair + 1], a[i], b[2], b[3]);
      }
    }
  }
}

template <class T, bool Moments>
__global__ void __launch_bounds__(T::threads, 1) strided_gemm_kernel(GemmProduct p) {
  extern __shared__ __align__(128) unsigned char shared_memory[];
  const uint32_t inputs = ptx::shared_address(shared_memory),
                 weights = inputs + T::shape.input_ring * T::input_bytes,
                 zeros = weights + T::weight_ring * T::weight_bytes;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp_c = thread / 32 % T::warps_c,
            warp_first = thread / 32 / T::warps_c * 64;
  store_zeros(zeros);
  const GemmPart part(p, static_cast<int>(blockIdx.x));
  const int first = part.position_block * T::positions;
  const int all_groups = T::planes * p.chunks,
            begin = static_cast<int>(all_groups * int64_t{part.piece} / p.pieces);
  const int groups = static_cast<int>(all_groups * int64_t{part.piece + 1} / p.pieces) - begin;

  Copies<T> copies(p, first, part.column_block, begin, groups);
  static_assert(T::shape.input_ring == 3 && 9 % T::weight_ring == 0 && T::ahead <= 4);
  // Four parities a group move through three places: those of the next group lie one place further.
  uint32_t places[3] = {inputs, inputs + T::input_bytes, inputs + 2 * T::input_bytes};
#pragma unroll
  for (int step = 0; step < T::ahead; ++step)
    copies.copy(p, step, places[0], weights + step * T::weight_bytes);

  const typename T::Rows rows(static_cast<int>(p.out.w), static_cast<int>(p.out.h), first, warp_first, zeros);
  const uint32_t weights_lane = weights + warp_c * 1024 + lane * 16;
  typename T::Sums sums = {};
#pragma unroll 1
  for (int group = 0; group < groups; ++group) {
#pragma unroll
    for (int step = 0; step < 9; ++step) {
      ptx::wait_copies<T::ahead - 1>();
      __syncthreads();  // this step's copies are there, and what the next ones replace is done with
      const int after = step + T::ahead, of_next = after >= 9, next_step = after % 9;
      copies.copy(p, next_step, places[(strided_gemm_parity(next_step) + of_next) % 3],
                  weights + next_step % T::weight_ring * T::weight_bytes);
      multiply<T>(sums, rows, strided_gemm_tap(step), places[strided_gemm_parity(step) % 3],
                  weights_lane + step % T::weight_ring * T::weight_bytes);
    }
    const uint32_t place = places[0];
    places[0] = places[1], places[1] = places[2], places[2] = place;
  }
  ptx::wait_copies<0>();
  gemm_finish<T, Moments>(p, warp_first, reinterpret_cast<float*>(shared_memory), sums);
}

template <class T>
void launch(const GemmOperands& o, const Exec& exec) {
  const auto divide_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t blocks = divide_up(o.out.voxels(), T::positions), groups = T::planes * divide_up(o.in.c, 32);
  // 128 KiB each way at an A100's 1.5 TB/s take a thirty-second part of a group's time, and the adding waits
  // for the last block: twice that.
  const int64_t pieces =
      o.pieces != 0 ? o.pieces : strided_gemm_pieces(blocks * divide_up(o.out.c, T::columns), groups, 4);
  launch_product<T>(o, blocks, pieces, strided_gemm_kernel<T, false>, strided_gemm_kernel<T, true>, exec);
}

}  // namespace

void conv3d_forward_strided_gemm(View<bfloat16> y, View<const bfloat16> x, const float* weight,
                                 const float* bias, const Exec& exec, int64_t pieces,
                                 const OutputStatistics* statistics) {
  if (y.elements() == 0) return;
  const GemmOperands operands{y, statistics, x, weight, {x.c * 27, 27, false}, bias, pieces};
  if (y.c % 128 == 0) return launch<Tile<2>>(operands, exec);
  launch<Tile<1>>(operands, exec);
}

}  // namespace vg::kernels::cuda
