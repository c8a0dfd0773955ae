// One block a chunk of 4096 elements; neighbouring threads take neighbouring elements.
#include "kernels/common/tensor_table.cuh"
#include "kernels/sgd/sgd_impl.h"

namespace vg::kernels::cuda {

namespace {

__global__ void __launch_bounds__(block_threads)
    sgd_kernel(const __grid_constant__ TensorTable<SgdTensor> table, const float* gradient_scale,
               const SgdFactors* of_step) {
  const SgdFactors factors = *of_step;
  const ChunkRange chunk = chunk_of_block(table);
  const SgdTensor t = table.tensors[chunk.tensor];
  const float scale = gradient_scale == nullptr ? 1.0f : *gradient_scale;
#pragma unroll 4
  for (int64_t i = chunk.begin + threadIdx.x; i < chunk.end; i += block_threads) {
    if (factors.momentum == 0) {
      sgd_update(t.parameter[i], t.gradient[i] * scale, factors);
    } else {
      sgd_update(t.parameter[i], t.gradient[i] * scale, t.momentum_buffer[i], factors);
    }
  }
}

}  // namespace

void sgd_step(const SgdTensor* tensors, int64_t tensor_count, const float* gradient_scale,
              const SgdFactors* factors, const Exec& exec) {
  for_each_table(tensors, tensor_count, [&](const TensorTable<SgdTensor>& table, int64_t chunks, int64_t) {
    sgd_kernel<<<static_cast<unsigned>(chunks), block_threads, 0, stream_of(exec)>>>(table, gradient_scale,
                                                                                     factors);
    check_launch();
  });
}

}  // namespace vg::kernels::cuda
