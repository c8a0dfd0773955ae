// One block a chunk of 4096 elements; neighbouring threads take neighbouring elements.
#include "kernels/adam/adam_impl.h"
#include "kernels/common/tensor_table.cuh"

namespace vg::kernels::cuda {

namespace {

__global__ void __launch_bounds__(block_threads)
    adam_kernel(const __grid_constant__ TensorTable<AdamTensor> table, const float* gradient_scale,
                const AdamFactors* of_step) {
  const AdamFactors factors = *of_step;
  const ChunkRange chunk = chunk_of_block(table);
  const AdamTensor t = table.tensors[chunk.tensor];
  const float scale = gradient_scale == nullptr ? 1.0f : *gradient_scale;
  // Four elements in flight a thread: 16 loads, enough to cover the latency of DRAM.
#pragma unroll 4
  for (int64_t i = chunk.begin + threadIdx.x; i < chunk.end; i += block_threads)
    adam_update(t.parameter[i], t.gradient[i] * scale, t.first_moment[i], t.second_moment[i], factors);
}

}  // namespace

void adam_step(const AdamTensor* tensors, int64_t tensor_count, const float* gradient_scale,
               const AdamFactors* factors, const Exec& exec) {
  for_each_table(tensors, tensor_count, [&](const TensorTable<AdamTensor>& table, int64_t chunks, int64_t) {
    adam_kernel<<<static_cast<unsigned>(chunks), block_threads, 0, stream_of(exec)>>>(table, gradient_scale,
                                                                                      factors);
    check_launch();
  });
}

}  // namespace vg::kernels::cuda
