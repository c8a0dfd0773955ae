// One pass over memory: 12 bytes read and 8 written an element with momentum. All tensors are one list of
// chunks.
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/common/tensor_chunks.h"
#include "kernels/sgd/sgd_impl.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {
constexpr int64_t chunk_elements = 4096;  // as in adam_cpu.cpp
}  // namespace

void sgd_step(const SgdTensor* tensors, int64_t tensor_count, const float* gradient_scale,
              const SgdFactors* factors, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  int64_t* const first_chunk = scope.allocate<int64_t>(static_cast<size_t>(tensor_count + 1));
  index_chunks(first_chunk, tensors, tensor_count, chunk_elements);
  const float scale = gradient_scale == nullptr ? 1.0f : *gradient_scale;
  const SgdFactors f = *factors;
  parallel_for(first_chunk[tensor_count], 1, [&](int64_t chunk) {
    const int64_t index = tensor_of_chunk(first_chunk, tensor_count, chunk);
    const SgdTensor t = tensors[index];
    const int64_t begin = (chunk - first_chunk[index]) * chunk_elements;
    const int64_t end = begin + chunk_elements < t.count ? begin + chunk_elements : t.count;
    if (f.momentum == 0) {
#pragma omp simd  // the arrays do not overlap
      for (int64_t i = begin; i < end; ++i) sgd_update(t.parameter[i], t.gradient[i] * scale, f);
    } else {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i)
        sgd_update(t.parameter[i], t.gradient[i] * scale, t.momentum_buffer[i], f);
    }
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
