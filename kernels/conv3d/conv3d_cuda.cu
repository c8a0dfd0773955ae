// The plain kernels for any shape: one thread a result, which gathers its products in a fixed order.
#include "kernels/common/launch.cuh"
#include "kernels/conv3d/conv3d_impl.h"

namespace vg::kernels::cuda {

namespace {

// Input index of an output index at a tap; false outside the input.
__device__ bool input_index(int64_t output, int tap, int64_t extent, const Conv3dParams& p, int64_t& input) {
  input = output * p.stride - p.padding + tap;
  return input >= 0 && input < extent;
}

__device__ bool output_index(int64_t input, int tap, int64_t extent, const Conv3dParams& p, int64_t& output) {
  const int64_t shifted = input + p.padding - tap;
  output = shifted / p.stride;
  return shifted >= 0 && shifted % p.stride == 0 && output < extent;
}

__global__ void forward_kernel(View<float> y, View<const float> x, const float* weight, const float* bias,
                               Conv3dParams p) {
  const int64_t index = thread_index();
  if (index >= y.elements()) return;
  const int64_t o = index % y.c, ow = index / y.c % y.w, row = index / y.c / y.w;
  const int64_t n = row / (y.d * y.h), od = row / y.h % y.d, oh = row % y.h;
  const int k = p.kernel_size, taps = k * k * k;
  float sum = bias == nullptr ? 0 : bias[o];
  for (int tap = 0; tap < taps; ++tap) {
    int64_t d, h, w;
    if (!input_index(od, tap / k / k, x.d, p, d) || !input_index(oh, tap / k % k, x.h, p, h) ||
        !input_index(ow, tap % k, x.w, p, w))
      continue;
    const float* const in = x.at(n, d, h, w);
    for (int64_t i = 0; i < x.c; ++i) sum += weight[(o * x.c + i) * taps + tap] * in[i];
  }
  *element(y, index) = sum;
}

__global__ void backward_input_kernel(View<float> dx, View<const float> dy, const float* weight,
                                      Conv3dParams p) {
  const int64_t index = thread_index();
  if (index >= dx.elements()) return;
  const int64_t i = index % dx.c, iw = index / dx.c % dx.w, row = index / dx.c / dx.w;
  const int64_t n = row / (dx.d * dx.h), id = row / dx.h % dx.d, ih = row % dx.h;
  const int k = p.kernel_size, taps = k * k * k;
  float sum = 0;
  for (int tap = 0; tap < taps; ++tap) {
    int64_t d, h, w;
    if (!output_index(id, tap / k / k, dy.d, p, d) || !output_index(ih, tap / k % k, dy.h, p, h) ||
        !output_index(iw, tap % k, dy.w, p, w))
      continue;
    const float* const gradient = dy.at(n, d, h, w);
    for (int64_t o = 0; o < dy.c; ++o) sum += weight[(o * dx.c + i) * taps + tap] * gradient[o];
  }
  *element(dx, index) = sum;
}

// Sums of rows are added up apart, so that long sums keep their digits.
__global__ void backward_weight_kernel(float* dweight, View<const float> dy, View<const float> x,
                                       Conv3dParams p) {
  const int k = p.kernel_size, taps = k * k * k;
  const int64_t index = thread_index();
  if (index >= dy.c * x.c * taps) return;
  const int tap = static_cast<int>(index % taps);
  const int64_t o = index / taps / x.c, i = index / taps % x.c;
  float sum = 0;
  for (int64_t nd = 0; nd < dy.n * dy.d; ++nd) {
    float plane_sum = 0;
    int64_t d, h, w;
    if (!input_index(nd % dy.d, tap / k / k, x.d, p, d)) continue;
    for (int64_t oh = 0; oh < dy.h; ++oh) {
      if (!input_index(oh, tap / k % k, x.h, p, h)) continue;
      float row_sum = 0;
      for (int64_t ow = 0; ow < dy.w; ++ow) {
        if (input_index(ow, tap % k, x.w, p, w))
          row_sum += dy.at(nd / dy.d, nd % dy.d, oh, ow)[o] * x.at(nd / dy.d, d, h, w)[i];
      }
      plane_sum += row_sum;
    }
    sum += plane_sum;
  }
  dweight[index] += sum;
}

__global__ void backward_bias_kernel(float* dbias, View<const float> dy) {
  const int64_t o = thread_index();
  if (o >= dy.c) return;
  float sum = 0;
  for (int64_t row = 0; row < dy.rows(); ++row) {
    float row_sum = 0;
    for (int64_t w = 0; w < dy.w; ++w) row_sum += dy.row(row)[w * dy.stride_w + o];
    sum += row_sum;
  }
  dbias[o] += sum;
}

}  // namespace

void conv3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                    const Conv3dParams& params, const Exec& exec) {
  forward_kernel<<<blocks_for(y.elements()), block_threads, 0, stream_of(exec)>>>(y, x, weight, bias, params);
  check_launch();
}

void conv3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                           const Conv3dParams& params, const Exec& exec) {
  backward_input_kernel<<<blocks_for(dx.elements()), block_threads, 0, stream_of(exec)>>>(dx, dy, weight,
                                                                                          params);
  check_launch();
}

void conv3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                            const Conv3dParams& params, const Exec& exec) {
  const int64_t weights = dy.c * x.c * params.kernel_size * params.kernel_size * params.kernel_size;
  backward_weight_kernel<<<blocks_for(weights), block_threads, 0, stream_of(exec)>>>(dweight, dy, x, params);
  check_launch();
}

void conv3d_backward_bias(float* dbias, View<const float> dy, const Exec& exec) {
  backward_bias_kernel<<<blocks_for(dy.c), block_threads, 0, stream_of(exec)>>>(dbias, dy);
  check_launch();
}

}  // namespace vg::kernels::cuda
