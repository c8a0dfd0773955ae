#include "support/conv_oracle.h"

namespace vg::test {

ConvOracle::ConvOracle(const kernels::Conv3dParams& p, int64_t n, int64_t d, int64_t h, int64_t w)
    : x_{n, d, h, w, p.in_channels},
      y_{n, kernels::conv3d_output_extent(d, p), kernels::conv3d_output_extent(h, p),
         kernels::conv3d_output_extent(w, p), p.out_channels},
      kernel_(p.kernel_size),
      stride_(p.stride),
      padding_(p.padding),
      transposed_(false) {}

ConvOracle::ConvOracle(const kernels::ConvTranspose3dParams& p, int64_t n, int64_t d, int64_t h, int64_t w)
    : x_{n, d, h, w, p.in_channels},
      y_{n, kernels::conv_transpose3d_output_extent(d, p), kernels::conv_transpose3d_output_extent(h, p),
         kernels::conv_transpose3d_output_extent(w, p), p.out_channels},
      kernel_(p.kernel_size),
      stride_(p.stride),
      padding_(p.padding),
      transposed_(true) {}

// The strided side ("small") and the dense side ("large") are y and x of a convolution, x and y of a
// transposed one: large = small * stride - padding + tap. Weights are (small's channels, large's channels, k,
// k, k) in both.
template <class Body>
void ConvOracle::for_each_product(const Body& body) const {
  const Extents &small = transposed_ ? x_ : y_, &large = transposed_ ? y_ : x_;
  const int64_t taps = kernel_ * kernel_ * kernel_;
  for (int64_t voxel = 0; voxel < small.n * small.d * small.h * small.w; ++voxel) {
    const int64_t w = voxel % small.w, h = voxel / small.w % small.h, d = voxel / small.w / small.h % small.d,
                  n = voxel / small.w / small.h / small.d;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t ld = d * stride_ - padding_ + tap / kernel_ / kernel_,
                    lh = h * stride_ - padding_ + tap / kernel_ % kernel_,
                    lw = w * stride_ - padding_ + tap % kernel_;
      if (ld < 0 || ld >= large.d || lh < 0 || lh >= large.h || lw < 0 || lw >= large.w) continue;
      const int64_t other = ((n * large.d + ld) * large.h + lh) * large.w + lw;
      for (int64_t s = 0; s < small.c; ++s) {
        for (int64_t l = 0; l < large.c; ++l) {
          const auto small_index = static_cast<size_t>(voxel * small.c + s),
                     large_index = static_cast<size_t>(other * large.c + l),
                     weight_index = static_cast<size_t>((s * large.c + l) * taps + tap);
          if (transposed_) {
            body(small_index, large_index, weight_index);
          } else {
            body(large_index, small_index, weight_index);
          }
        }
      }
    }
  }
}

template <class T>
std::vector<double> ConvOracle::forward(const std::vector<T>& x, const std::vector<T>& weight,
                                        const std::vector<T>& bias) const {
  std::vector<double> y(static_cast<size_t>(y_.count()), 0.0);
  if (!bias.empty()) {
    for (size_t i = 0; i < y.size(); ++i) y[i] = static_cast<double>(bias[i % bias.size()]);
  }
  for_each_product([&](size_t ix, size_t iy, size_t iw) {
    y[iy] += static_cast<double>(x[ix]) * static_cast<double>(weight[iw]);
  });
  return y;
}

template <class T>
std::vector<double> ConvOracle::backward_input(const std::vector<T>& dy, const std::vector<T>& weight) const {
  std::vector<double> dx(static_cast<size_t>(x_.count()), 0.0);
  for_each_product([&](size_t ix, size_t iy, size_t iw) {
    dx[ix] += static_cast<double>(dy[iy]) * static_cast<double>(weight[iw]);
  });
  return dx;
}

template <class T>
std::vector<double> ConvOracle::backward_weight(const std::vector<T>& dy, const std::vector<T>& x) const {
  std::vector<double> dweight(static_cast<size_t>(weights()), 0.0);
  for_each_product([&](size_t ix, size_t iy, size_t iw) {
    dweight[iw] += static_cast<double>(dy[iy]) * static_cast<double>(x[ix]);
  });
  return dweight;
}

template <class T>
std::vector<double> ConvOracle::backward_bias(const std::vector<T>& dy) const {
  std::vector<double> dbias(static_cast<size_t>(y_.c), 0.0);
  for (size_t i = 0; i < dy.size(); ++i) dbias[i % dbias.size()] += static_cast<double>(dy[i]);
  return dbias;
}

#define VG_INSTANTIATE(T)                                                                                \
  template std::vector<double> ConvOracle::forward(const std::vector<T>&, const std::vector<T>&,         \
                                                   const std::vector<T>&) const;                         \
  template std::vector<double> ConvOracle::backward_input(const std::vector<T>&, const std::vector<T>&)  \
      const;                                                                                             \
  template std::vector<double> ConvOracle::backward_weight(const std::vector<T>&, const std::vector<T>&) \
      const;                                                                                             \
  template std::vector<double> ConvOracle::backward_bias(const std::vector<T>&) const;
VG_INSTANTIATE(float)
VG_INSTANTIATE(double)
#undef VG_INSTANTIATE

}  // namespace vg::test
