#include "bench/ladder/conv3d/packing.h"
#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/matrix.cuh"

namespace vg::ladder::cuda {

using namespace kernels::cuda;

namespace {

// One thread a packed value; the writes of a warp are a run, the reads are not, but they happen once.
__global__ void pack_taps_kernel(float* packed, const float* weight, int64_t in, int64_t out) {
  const int64_t index = thread_index();
  if (index >= 27 * in * out) return;
  const int64_t o = index % out, i = index / out % in, tap = index / out / in;
  packed[index] = weight[(o * in + i) * 27 + tap];
}

__global__ void pack_fragments_kernel(uint32_t* packed, const float* weight, int64_t in, int64_t out,
                                      ColumnOrder order) {
  const int64_t index = thread_index();
  if (index >= 27 * in * out / 2) return;
  const int word = static_cast<int>(index % 4), lane = static_cast<int>(index / 4 % 32);
  const int64_t tap = index / fragment_words % 27, step = index / fragment_words / 27 % (in / 16),
                group = index / fragment_words / 27 / (in / 16);
  // B has 16 rows (input channels) and 8 columns (output channels): lane 4 n + q holds column n.
  const int n = lane / 4, q = lane % 4, fragment = word / 2;
  const int column = order == ColumnOrder::natural ? 8 * fragment + n : n / 2 * 4 + 2 * fragment + n % 2;
  const int64_t o = group * 16 + column, i = step * 16 + 2 * q + word % 2 * 8;
  packed[index] =
      kernels::ptx::pack_bfloat16(weight[(o * in + i) * 27 + tap], weight[(o * in + i + 1) * 27 + tap]);
}

}  // namespace

void pack_taps(float* packed, const float* weight, int64_t in, int64_t out, const kernels::Exec& exec) {
  pack_taps_kernel<<<blocks_for(27 * in * out), block_threads, 0, stream_of(exec)>>>(packed, weight, in, out);
  check_launch();
}

void pack_fragments(uint32_t* packed, const float* weight, int64_t in, int64_t out, ColumnOrder order,
                    const kernels::Exec& exec) {
  pack_fragments_kernel<<<blocks_for(27 * in * out / 2), block_threads, 0, stream_of(exec)>>>(packed, weight,
                                                                                              in, out, order);
  check_launch();
}

}  // namespace vg::ladder::cuda
