#pragma once

#include "kernels/common/dispatch.h"
#include "kernels/reduce/reduce.h"

namespace vg::kernels {

/// PyTorch's clip_grad_norm_. A NaN norm gives NaN: a broken step must not pass for a small one.
VG_INLINE float clip_factor(float norm, float max_norm) {
  const float factor = max_norm / (norm + 1e-6f);
  return factor > 1 ? 1.0f : factor;
}

VG_DECLARE_CPU_IMPLEMENTATIONS(void reduce_sum(float* out, View<const float> x, const Exec& exec);
                               void reduce_channels(float* out, View<const float> x, const Exec& exec);
                               void global_norm(float* out, const FlatTensor* tensors, int64_t tensor_count,
                                                const Exec& exec);
                               void clip_scale(float* scale, const float* norm, float max_norm,
                                               const Exec& exec);
                               void count_nonfinite(int64_t* count, View<const float> x, const Exec& exec);)

// T is float or bfloat16.
namespace cuda {
template <class T>
void reduce_sum(float* out, View<const T> x, const Exec& exec);
template <class T>
void reduce_channels(float* out, View<const T> x, const Exec& exec);
void global_norm(float* out, const FlatTensor* tensors, int64_t tensor_count, const Exec& exec);
void clip_scale(float* scale, const float* norm, float max_norm, const Exec& exec);
template <class T>
void count_nonfinite(int64_t* count, View<const T> x, const Exec& exec);
}  // namespace cuda

}  // namespace vg::kernels
