#include "kernels/reduce/reduce.h"

#include "kernels/reduce/reduce_impl.h"

namespace vg::kernels {

void reduce_sum(float* out, View<const float> x, const Exec& exec) {
  VG_DISPATCH(exec, reduce_sum, out, x, exec);
}

void reduce_sum(float* out, View<const bfloat16> x, const Exec& exec) {
  VG_DISPATCH_CUDA(exec, reduce_sum, out, x, exec);
}

void reduce_channels(float* out, View<const float> x, const Exec& exec) {
  if (x.elements() == 0) return;
  VG_DISPATCH(exec, reduce_channels, out, x, exec);
}

void reduce_channels(float* out, View<const bfloat16> x, const Exec& exec) {
  if (x.elements() == 0) return;
  VG_DISPATCH_CUDA(exec, reduce_channels, out, x, exec);
}

void global_norm(float* out, std::span<const FlatTensor> tensors, const Exec& exec) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    require(tensors[i].count >= 0, "global_norm: tensor ", i, " has ", tensors[i].count,
            " elements, expected >= 0");
    require(tensors[i].count == 0 || tensors[i].data != nullptr, "global_norm: tensor ", i,
            " is null, expected ", tensors[i].count, " elements");
  }
  VG_DISPATCH(exec, global_norm, out, tensors.data(), static_cast<int64_t>(tensors.size()), exec);
}

void clip_scale(float* scale, const float* norm, float max_norm, const Exec& exec) {
  require(max_norm >= 0, "clip_scale: max_norm is ", max_norm, ", expected >= 0");
  VG_DISPATCH(exec, clip_scale, scale, norm, max_norm, exec);
}

void count_nonfinite(int64_t* count, View<const float> x, const Exec& exec) {
  VG_DISPATCH(exec, count_nonfinite, count, x, exec);
}

void count_nonfinite(int64_t* count, View<const bfloat16> x, const Exec& exec) {
  VG_DISPATCH_CUDA(exec, count_nonfinite, count, x, exec);
}

}  // namespace vg::kernels
