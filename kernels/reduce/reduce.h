// Deterministic reductions: fixed partition, fixed order, sums in double. Same bits for any thread count.
// Functions for bfloat16 run on CUDA only and throw std::invalid_argument on the CPU.
#pragma once

#include <span>

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

/// A flat array.
struct FlatTensor {
  const float* data;
  int64_t count;
};

/// out[0] = sum of all elements; overwrites.
void reduce_sum(float* out, View<const float> x, const Exec& exec);
void reduce_sum(float* out, View<const bfloat16> x, const Exec& exec);

/// out[c] += sum over n, d, h, w of x[..., c]; accumulates.
void reduce_channels(float* out, View<const float> x, const Exec& exec);
void reduce_channels(float* out, View<const bfloat16> x, const Exec& exec);

/// out[0] = the Euclidean norm of all tensors together; overwrites. A NaN or infinity anywhere shows in the
/// result.
void global_norm(float* out, std::span<const FlatTensor> tensors, const Exec& exec);

/// scale[0] = min(1, max_norm / (norm[0] + 1e-6)): PyTorch's clip_grad_norm_, without a round trip to the
/// host.
void clip_scale(float* scale, const float* norm, float max_norm, const Exec& exec);

/// count[0] = number of elements that are NaN or infinite; overwrites.
void count_nonfinite(int64_t* count, View<const float> x, const Exec& exec);
void count_nonfinite(int64_t* count, View<const bfloat16> x, const Exec& exec);

}  // namespace vg::kernels
