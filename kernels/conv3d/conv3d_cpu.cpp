#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/conv3d/conv3d_impl.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

VG_INLINE bool input_index(int64_t output, int tap, int64_t extent, const Conv3dParams& p, int64_t& input) {
  input = output * p.stride - p.padding + tap;
  return input >= 0 && input < extent;
}

VG_INLINE bool output_index(int64_t input, int tap, int64_t extent, const Conv3dParams& p, int64_t& output) {
  const int64_t shifted = input + p.padding - tap;
  output = shifted / p.stride;
  return shifted >= 0 && shifted % p.stride == 0 && output < extent;
}

}  // namespace

void conv3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                    const Conv3dParams& p, const Exec&) {
  const int k = p.kernel_size;
  parallel_for(y.rows(), 1, [&](int64_t r) {
    const int64_t n = r / (y.d * y.h), od = r / y.h % y.d, oh = r % y.h;
    for (int64_t ow = 0; ow < y.w; ++ow) {
      for (int64_t o = 0; o < y.c; ++o) {
        float sum = bias == nullptr ? 0 : bias[o];
        for (int tap = 0; tap < k * k * k; ++tap) {
          int64_t d, h, w;
          if (!input_index(od, tap / k / k, x.d, p, d) || !input_index(oh, tap / k % k, x.h, p, h) ||
              !input_index(ow, tap % k, x.w, p, w))
            continue;
          for (int64_t i = 0; i < x.c; ++i)
            sum += weight[(o * x.c + i) * k * k * k + tap] * x.at(n, d, h, w)[i];
        }
        y.at(n, od, oh, ow)[o] = sum;
      }
    }
  });
}

void conv3d_backward_input(View<float> dx, View<const float> dy, const float* weight, const Conv3dParams& p,
                           const Exec&) {
  const int k = p.kernel_size;
  parallel_for(dx.rows(), 1, [&](int64_t r) {
    const int64_t n = r / (dx.d * dx.h), id = r / dx.h % dx.d, ih = r % dx.h;
    for (int64_t iw = 0; iw < dx.w; ++iw) {
      for (int64_t i = 0; i < dx.c; ++i) {
        float sum = 0;
        for (int tap = 0; tap < k * k * k; ++tap) {
          int64_t d, h, w;
          if (!output_index(id, tap / k / k, dy.d, p, d) || !output_index(ih, tap / k % k, dy.h, p, h) ||
              !output_index(iw, tap % k, dy.w, p, w))
            continue;
          for (int64_t o = 0; o < dy.c; ++o)
            sum += weight[(o * dx.c + i) * k * k * k + tap] * dy.at(n, d, h, w)[o];
        }
        dx.at(n, id, ih, iw)[i] = sum;
      }
    }
  });
}

void conv3d_backward_weight(float* dweight, View<const float> dy, View<const float> x, const Conv3dParams& p,
                            const Exec&) {
  const int k = p.kernel_size;
  parallel_for(dy.c * x.c * k * k * k, 1, [&](int64_t index) {
    const int tap = static_cast<int>(index % (k * k * k));
    const int64_t o = index / (k * k * k) / x.c, i = index / (k * k * k) % x.c;
    float sum = 0;
    for (int64_t r = 0; r < dy.rows(); ++r) {
      float row_sum = 0;
      const int64_t n = r / (dy.d * dy.h), od = r / dy.h % dy.d, oh = r % dy.h;
      for (int64_t ow = 0; ow < dy.w; ++ow) {
        int64_t d, h, w;
        if (!input_index(od, tap / k / k, x.d, p, d) || !input_index(oh, tap / k % k, x.h, p, h) ||
            !input_index(ow, tap % k, x.w, p, w))
          continue;
        row_sum += dy.at(n, od, oh, ow)[o] * x.at(n, d, h, w)[i];
      }
      sum += row_sum;
    }
    dweight[index] += sum;
  });
}

void conv3d_backward_bias(float* dbias, View<const float> dy, const Exec&) {
  parallel_for(dy.c, 1, [&](int64_t o) {
    float sum = 0;
    for (int64_t r = 0; r < dy.rows(); ++r) {
      float row_sum = 0;
      for (int64_t w = 0; w < dy.w; ++w) row_sum += dy.row(r)[w * dy.stride_w + o];
      sum += row_sum;
    }
    dbias[o] += sum;
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
