#include "kernels/elementwise/elementwise.h"

#include "kernels/common/check_shape.h"
#include "kernels/elementwise/elementwise_impl.h"

namespace vg::kernels {

namespace {

template <class T>
void require_broadcastable(const char* function, const View<const T>& a, const View<const T>& b) {
  require(a.same_voxels(b) && (b.c == a.c || b.c == 1), function, ": the second factor has ", b.c,
          " channels, expected 1 or ", a.c, ", and the same voxels");
}

template <class T>
void check_multiply(const View<T>& y, const View<const T>& a, const View<const T>& b) {
  require_same_shape("multiply", y, a);
  require_broadcastable("multiply", a, b);
}

template <class T>
void check_multiply_backward(const View<T>& da, const View<T>& db, const View<const T>& dy,
                             const View<const T>& a, const View<const T>& b) {
  require_same_shape("multiply_backward", da, a);
  require_same_shape("multiply_backward", db, b);
  require_same_shape("multiply_backward", dy, a);
  require_broadcastable("multiply_backward", a, b);
}

}  // namespace

void fill(View<float> y, float value, const Exec& exec) {
  VG_DISPATCH(exec, fill, y, value, exec);
}

void fill(View<bfloat16> y, float value, const Exec& exec) {
  VG_DISPATCH_CUDA(exec, fill, y, value, exec);
}

void fill(View<uint8_t> y, uint8_t value, const Exec& exec) {
  VG_DISPATCH(exec, fill, y, value, exec);
}

void zero_arrays(std::span<const OutputArray> arrays, const Exec& exec) {
  if (exec.device == DeviceKind::cuda)
    VG_DISPATCH_CUDA(exec, zero_arrays, arrays.data(), static_cast<int64_t>(arrays.size()), exec);
  for (const OutputArray& array : arrays) fill(flat_view(array.data, array.count), 0.0f, exec);
}

void zero_halo(View<float> y, const Exec& exec) {
  if (y.halo == 0) return;
  VG_DISPATCH(exec, zero_halo, y, exec);
}

void zero_halo(View<bfloat16> y, const Exec& exec) {
  if (y.halo == 0) return;
  VG_DISPATCH_CUDA(exec, zero_halo, y, exec);
}

void copy(View<float> y, View<const float> x, const Exec& exec) {
  require_same_shape("copy", y, x);
  VG_DISPATCH(exec, copy, y, x, exec);
}

void copy(View<bfloat16> y, View<const bfloat16> x, const Exec& exec) {
  require_same_shape("copy", y, x);
  VG_DISPATCH_CUDA(exec, copy, y, x, exec);
}

void copy(View<uint8_t> y, View<const uint8_t> x, const Exec& exec) {
  require_same_shape("copy", y, x);
  VG_DISPATCH(exec, copy, y, x, exec);
}

void cast(View<bfloat16> y, View<const float> x, const Exec& exec) {
  require_same_shape("cast", y, x);
  VG_DISPATCH(exec, cast, y, x, exec);
}

void cast(View<float> y, View<const bfloat16> x, const Exec& exec) {
  require_same_shape("cast", y, x);
  VG_DISPATCH(exec, cast, y, x, exec);
}

void add(View<float> y, View<const float> a, View<const float> b, const Exec& exec) {
  require_same_shape("add", y, a);
  require_same_shape("add", y, b);
  VG_DISPATCH(exec, add, y, a, b, exec);
}

void add(View<bfloat16> y, View<const bfloat16> a, View<const bfloat16> b, const Exec& exec) {
  require_same_shape("add", y, a);
  require_same_shape("add", y, b);
  VG_DISPATCH_CUDA(exec, add, y, a, b, exec);
}

void accumulate(View<float> y, View<const float> x, float factor, const Exec& exec) {
  require_same_shape("accumulate", y, x);
  VG_DISPATCH(exec, accumulate, y, x, factor, exec);
}

void accumulate(View<bfloat16> y, View<const bfloat16> x, float factor, const Exec& exec) {
  require_same_shape("accumulate", y, x);
  VG_DISPATCH_CUDA(exec, accumulate, y, x, factor, exec);
}

void scale(View<float> y, View<const float> x, float factor, const Exec& exec) {
  require_same_shape("scale", y, x);
  VG_DISPATCH(exec, scale, y, x, factor, exec);
}

void scale(View<bfloat16> y, View<const bfloat16> x, float factor, const Exec& exec) {
  require_same_shape("scale", y, x);
  VG_DISPATCH_CUDA(exec, scale, y, x, factor, exec);
}

void multiply(View<float> y, View<const float> a, View<const float> b, const Exec& exec) {
  check_multiply(y, a, b);
  VG_DISPATCH(exec, multiply, y, a, b, exec);
}

void multiply(View<bfloat16> y, View<const bfloat16> a, View<const bfloat16> b, const Exec& exec) {
  check_multiply(y, a, b);
  VG_DISPATCH_CUDA(exec, multiply, y, a, b, exec);
}

void multiply_backward(View<float> da, View<float> db, View<const float> dy, View<const float> a,
                       View<const float> b, const Exec& exec) {
  check_multiply_backward(da, db, dy, a, b);
  VG_DISPATCH(exec, multiply_backward, da, db, dy, a, b, exec);
}

void multiply_backward(View<bfloat16> da, View<bfloat16> db, View<const bfloat16> dy, View<const bfloat16> a,
                       View<const bfloat16> b, const Exec& exec) {
  check_multiply_backward(da, db, dy, a, b);
  VG_DISPATCH_CUDA(exec, multiply_backward, da, db, dy, a, b, exec);
}

}  // namespace vg::kernels
