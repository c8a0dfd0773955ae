// One pass over memory: 16 bytes read and 12 written an element. All tensors are one list of chunks.
#include "kernels/adam/adam_impl.h"
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/common/tensor_chunks.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {
// Four arrays of 16 KiB: a chunk fits into a core's cache, and handing it out costs nothing beside it.
constexpr int64_t chunk_elements = 4096;
}  // namespace

void adam_step(const AdamTensor* tensors, int64_t tensor_count, const float* gradient_scale,
               const AdamFactors* factors, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  int64_t* const first_chunk = scope.allocate<int64_t>(static_cast<size_t>(tensor_count + 1));
  index_chunks(first_chunk, tensors, tensor_count, chunk_elements);
  const float scale = gradient_scale == nullptr ? 1.0f : *gradient_scale;
  const AdamFactors f = *factors;
  parallel_for(first_chunk[tensor_count], 1, [&](int64_t chunk) {
    const int64_t index = tensor_of_chunk(first_chunk, tensor_count, chunk);
    const AdamTensor t = tensors[index];
    const int64_t begin = (chunk - first_chunk[index]) * chunk_elements;
    const int64_t end = begin + chunk_elements < t.count ? begin + chunk_elements : t.count;
#pragma omp simd  // the arrays do not overlap
    for (int64_t i = begin; i < end; ++i)
      adam_update(t.parameter[i], t.gradient[i] * scale, t.first_moment[i], t.second_moment[i], f);
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
