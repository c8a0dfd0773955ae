// One thread an element in [N,D,H,W,C] order: neighbouring threads touch neighbouring channels, so accesses
// coalesce.
#include "kernels/common/bfloat16.h"
#include "kernels/common/launch.cuh"
#include "kernels/elementwise/elementwise_impl.h"

namespace vg::kernels::cuda {

namespace {

template <class F, class Y, class... X>
__global__ void map_kernel(F f, View<Y> y, View<X>... x) {
  const int64_t i = thread_index();
  if (i < y.elements()) *element(y, i) = f(*element(x, i)...);
}

template <class F, class Y, class... X>
void map(const Exec& exec, F f, const View<Y>& y, const View<X>&... x) {
  map_kernel<<<blocks_for(y.elements()), block_threads, 0, stream_of(exec)>>>(f, y, x...);
  check_launch();
}

template <class T>
struct Constant {
  T value;
  __device__ T operator()() const { return value; }
};
template <class T>
struct Identity {
  __device__ T operator()(T v) const { return v; }
};
struct ToBfloat16 {
  __device__ bfloat16 operator()(float v) const { return to_bfloat16(v); }
};
struct ToFloat {
  __device__ float operator()(bfloat16 v) const { return to_float(v); }
};
struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct AddScaled {
  float factor;
  __device__ float operator()(float a, float b) const { return fmaf(factor, b, a); }
};
struct Scale {
  float factor;
  __device__ float operator()(float v) const { return factor * v; }
};
struct Multiply {
  __device__ float operator()(float a, float b) const { return a * b; }
};

// One thread a voxel of the volume with its halo.
__global__ void zero_halo_kernel(View<float> y) {
  const int64_t depth = y.d + 2 * y.halo, height = y.h + 2 * y.halo, width = y.w + 2 * y.halo;
  const int64_t i = thread_index();
  if (i >= y.n * depth * height * width) return;
  const int64_t w = i % width - y.halo, h = i / width % height - y.halo,
                d = i / width / height % depth - y.halo;
  if (d >= 0 && d < y.d && h >= 0 && h < y.h && w >= 0 && w < y.w) return;
  float* const out = y.at(i / width / height / depth, d, h, w);
  for (int64_t c = 0; c < y.c; ++c) out[c] = 0;
}

__global__ void multiply_broadcast_kernel(View<float> y, View<const float> a, View<const float> b) {
  const int64_t i = thread_index();
  if (i < y.elements()) *element(y, i) = *element(a, i) * *voxel(b, i / y.c);
}

// One thread a voxel, since the gradient of a broadcast factor sums over the channels.
__global__ void multiply_backward_kernel(View<float> da, View<float> db, View<const float> dy,
                                         View<const float> a, View<const float> b) {
  const int64_t i = thread_index();
  if (i >= dy.voxels()) return;
  const bool broadcast_b = a.c != b.c;
  const float *const g = voxel(dy, i), *const u = voxel(a, i), *const v = voxel(b, i);
  float *const du = voxel(da, i), *const dv = voxel(db, i);
  const float shared_factor = v[0];
  float sum = 0;
  for (int64_t c = 0; c < dy.c; ++c) {
    const float gradient = g[c], factor = broadcast_b ? shared_factor : v[c], product = gradient * u[c];
    if (broadcast_b) {
      sum += product;
    } else {
      dv[c] = product;
    }
    du[c] = gradient * factor;
  }
  if (broadcast_b) dv[0] = sum;
}

}  // namespace

void fill(View<float> y, float value, const Exec& exec) {
  map(exec, Constant<float>{value}, y);
}

void fill(View<uint8_t> y, uint8_t value, const Exec& exec) {
  map(exec, Constant<uint8_t>{value}, y);
}

void zero_halo(View<float> y, const Exec& exec) {
  const int64_t voxels = y.n * (y.d + 2 * y.halo) * (y.h + 2 * y.halo) * (y.w + 2 * y.halo);
  zero_halo_kernel<<<blocks_for(voxels), block_threads, 0, stream_of(exec)>>>(y);
  check_launch();
}

void copy(View<float> y, View<const float> x, const Exec& exec) {
  map(exec, Identity<float>{}, y, x);
}

void copy(View<uint8_t> y, View<const uint8_t> x, const Exec& exec) {
  map(exec, Identity<uint8_t>{}, y, x);
}

void cast(View<bfloat16> y, View<const float> x, const Exec& exec) {
  map(exec, ToBfloat16{}, y, x);
}

void cast(View<float> y, View<const bfloat16> x, const Exec& exec) {
  map(exec, ToFloat{}, y, x);
}

void add(View<float> y, View<const float> a, View<const float> b, const Exec& exec) {
  map(exec, Add{}, y, a, b);
}

void accumulate(View<float> y, View<const float> x, float factor, const Exec& exec) {
  map(exec, AddScaled{factor}, y, View<const float>(y), x);
}

void scale(View<float> y, View<const float> x, float factor, const Exec& exec) {
  map(exec, Scale{factor}, y, x);
}

void multiply(View<float> y, View<const float> a, View<const float> b, const Exec& exec) {
  if (a.c == b.c) return map(exec, Multiply{}, y, a, b);
  multiply_broadcast_kernel<<<blocks_for(y.elements()), block_threads, 0, stream_of(exec)>>>(y, a, b);
  check_launch();
}

void multiply_backward(View<float> da, View<float> db, View<const float> dy, View<const float> a,
                       View<const float> b, const Exec& exec) {
  multiply_backward_kernel<<<blocks_for(dy.voxels()), block_threads, 0, stream_of(exec)>>>(da, db, dy, a, b);
  check_launch();
}

}  // namespace vg::kernels::cuda
