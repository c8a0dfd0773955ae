// Two launches each: sums of pieces, then the sum of the pieces (kernels/common/reduce.cuh).
#include "kernels/common/reduce.cuh"
#include "kernels/common/tensor_table.cuh"
#include "kernels/reduce/reduce_impl.h"

namespace vg::kernels::cuda {

namespace {

// Element i of a view; a contiguous one spares the divisions.
struct Elements {
  View<const float> x;
  bool contiguous;
  __device__ float operator[](int64_t i) const { return contiguous ? x.data[i] : *element(x, i); }
};

struct AddElement {
  Elements x;
  __device__ void operator()(int64_t i, double (&sums)[1]) const { sums[0] += x[i]; }
};
struct AddIfNonfinite {
  Elements x;
  __device__ void operator()(int64_t i, double (&sums)[1]) const { sums[0] += isfinite(x[i]) ? 0 : 1; }
};
struct AddChannel {
  View<const float> x;
  __device__ void operator()(int64_t first, int64_t limit, int64_t step, int64_t channel,
                             double (&sums)[1]) const {
    for (int64_t i = first; i < limit; i += step) sums[0] += voxel(x, i)[channel];
  }
};

template <class T>
struct Store {
  T* out;
  __device__ void operator()(const double (&sums)[1]) const { *out = static_cast<T>(sums[0]); }
};
struct StoreRoot {
  float* out;
  __device__ void operator()(const double (&sums)[1]) const { *out = static_cast<float>(sqrt(sums[0])); }
};
struct AccumulateChannel {
  float* out;
  __device__ void operator()(int64_t channel, const double (&sums)[1]) const {
    out[channel] += static_cast<float>(sums[0]);
  }
};

__global__ void __launch_bounds__(block_threads)
    sum_of_squares_kernel(const __grid_constant__ TensorTable<FlatTensor> table, double* partials) {
  const ChunkRange chunk = chunk_of_block(table);
  const float* const data = table.tensors[chunk.tensor].data;
  double sum = 0;
#pragma unroll 4
  for (int64_t i = chunk.begin + threadIdx.x; i < chunk.end; i += block_threads) {
    const double v = data[i];  // in double, since the square of a large float overflows
    sum += v * v;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void clip_scale_kernel(float* scale, const float* norm, float max_norm) {
  *scale = clip_factor(*norm, max_norm);
}

}  // namespace

void reduce_sum(float* out, View<const float> x, const Exec& exec) {
  grid_sums<1, double>(x.elements(), AddElement{{x, x.contiguous()}}, Store<float>{out}, exec);
}

void count_nonfinite(int64_t* count, View<const float> x, const Exec& exec) {
  grid_sums<1, double>(x.elements(), AddIfNonfinite{{x, x.contiguous()}}, Store<int64_t>{count}, exec);
}

void reduce_channels(float* out, View<const float> x, const Exec& exec) {
  channel_sums<1>(1, x.voxels(), x.c, AddChannel{x}, AccumulateChannel{out}, exec);
}

void global_norm(float* out, const FlatTensor* tensors, int64_t tensor_count, const Exec& exec) {
  int64_t chunks = 0;
  for (int64_t i = 0; i < tensor_count; ++i) chunks += chunks_of(tensors[i].count, chunk_elements);
  WorkspaceScope scope(*exec.workspace);
  double* const partials = scope.allocate<double>(static_cast<size_t>(chunks));
  for_each_table(tensors, tensor_count,
                 [&](const TensorTable<FlatTensor>& table, int64_t count, int64_t before) {
                   sum_of_squares_kernel<<<static_cast<unsigned>(count), block_threads, 0, stream_of(exec)>>>(
                       table, partials + before);
                   check_launch();
                 });
  finish_grid_sums_kernel<1><<<1, block_threads, 0, stream_of(exec)>>>(StoreRoot{out}, partials, chunks);
  check_launch();
}

void clip_scale(float* scale, const float* norm, float max_norm, const Exec& exec) {
  clip_scale_kernel<<<1, 1, 0, stream_of(exec)>>>(scale, norm, max_norm);
  check_launch();
}

}  // namespace vg::kernels::cuda
