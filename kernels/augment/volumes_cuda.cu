// A block takes a piece of a volume; the host combines the pieces in their order.
#include <vector>

#include "kernels/augment/volumes_impl.h"
#include "kernels/common/reduce.cuh"

namespace vg::kernels::cuda {

namespace {

struct Minimum {
  __device__ float operator()(float a, float b) const { return b < a ? b : a; }
};

constexpr int64_t voxels_a_piece = int64_t{block_threads} * items_a_thread;

__global__ void statistics_kernel(VolumeStatistics* partials, View<const float> x, int64_t pieces) {
  const int64_t voxels = x.d * x.h * x.w, volume = blockIdx.x / pieces * voxels,
                begin = blockIdx.x % pieces * voxels_a_piece, end = min(voxels, begin + voxels_a_piece);
  float minimum = *voxel(x, volume + begin);
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += block_threads) {
    const float value = *voxel(x, volume + i);
    minimum = Minimum{}(minimum, value);
    sum += value;
  }
  minimum = block_reduce(minimum, Minimum{});
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = {minimum, sum};
}

}  // namespace

void volume_statistics(VolumeStatistics* results, View<const float> x, const Exec& exec) {
  const int64_t pieces = (x.d * x.h * x.w + voxels_a_piece - 1) / voxels_a_piece;
  std::vector<VolumeStatistics> partials(static_cast<size_t>(x.n * pieces));
  WorkspaceScope scope(*exec.workspace);
  auto* const on_device = scope.allocate<VolumeStatistics>(partials.size());
  statistics_kernel<<<static_cast<unsigned>(partials.size()), block_threads, 0, stream_of(exec)>>>(on_device,
                                                                                                   x, pieces);
  check_launch();
  copy_memory(partials.data(), DeviceKind::cpu, on_device, DeviceKind::cuda,
              partials.size() * sizeof(VolumeStatistics), exec.stream);
  for (int64_t n = 0; n < x.n; ++n) {
    const VolumeStatistics* const mine = partials.data() + n * pieces;
    results[n] = mine[0];
    for (int64_t i = 1; i < pieces; ++i) results[n] = combine(results[n], mine[i]);
  }
}

}  // namespace vg::kernels::cuda
