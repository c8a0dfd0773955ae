#include "kernels/augment/spectrum.h"

#include <cmath>
#include <numbers>

#include "kernels/augment/axis_filter.h"

namespace vg::kernels {

namespace {

// cos and sin of 2 pi k j / length for the frequencies k < `frequencies`, else 0.
struct FourierMatrices {
  std::vector<float> cosine, sine, minus_sine;
  FourierMatrices(int64_t length, int64_t frequencies)
      : cosine(static_cast<size_t>(length * length)), sine(cosine.size()), minus_sine(cosine.size()) {
    for (int64_t k = 0; k < frequencies; ++k) {
      for (int64_t j = 0; j < length; ++j) {
        const double angle =
            2 * std::numbers::pi * static_cast<double>(k * j % length) / static_cast<double>(length);
        const auto i = static_cast<size_t>(k * length + j);
        cosine[i] = static_cast<float>(std::cos(angle));
        sine[i] = static_cast<float>(std::sin(angle));
        minus_sine[i] = -sine[i];
      }
    }
  }
};

struct ComplexVolume {
  View<float> real, imaginary;
};

// y = Fourier transform of x along an axis.
void transform(const ComplexVolume& y, const ComplexVolume& x, int axis, int64_t length, const Exec& exec) {
  const FourierMatrices m(length, length);
  axis_filter(y.real, x.real, m.cosine, axis, false, exec);
  axis_filter(y.real, x.imaginary, m.sine, axis, true, exec);
  axis_filter(y.imaginary, x.imaginary, m.cosine, axis, false, exec);
  axis_filter(y.imaginary, x.real, m.minus_sine, axis, true, exec);
}

}  // namespace

Spectrum::Spectrum(View<const float> x, const Exec& exec) : scope_(*exec.workspace), extent_{x.d, x.h, x.w} {
  const auto voxels = static_cast<size_t>(x.voxels());
  const auto complex_volume = [&](float* data) -> ComplexVolume {
    return {contiguous_view(data, 1, x.d, x.h, x.w, 1), contiguous_view(data + voxels, 1, x.d, x.h, x.w, 1)};
  };
  const ComplexVolume result = complex_volume(scope_.allocate<float>(2 * voxels));
  {
    WorkspaceScope scope(*exec.workspace);
    ComplexVolume a = result, b = complex_volume(scope.allocate<float>(2 * voxels));
    const FourierMatrices along_w(x.w, half_width());
    axis_filter(a.real, x, along_w.cosine, 2, false, exec);
    axis_filter(a.imaginary, x, along_w.minus_sine, 2, false, exec);
    for (View<float>* half : {&a.real, &a.imaginary, &b.real, &b.imaginary}) half->w = half_width();
    transform(b, a, 1, x.h, exec);
    transform(a, b, 0, x.d, exec);
  }
  real_ = result.real.data;
  if (exec.device != DeviceKind::cpu) {
    copy_.resize(2 * voxels);
    copy_memory(copy_.data(), DeviceKind::cpu, real_, exec.device, 2 * voxels * sizeof(float), exec.stream);
    real_ = copy_.data();
  }
  imaginary_ = real_ + voxels;
}

Spectrum::Index Spectrum::mirrored(const Index& k) const {
  Index result;
  for (size_t axis = 0; axis < 3; ++axis) result[axis] = (extent_[axis] - k[axis]) % extent_[axis];
  return result;
}

std::complex<double> Spectrum::operator[](const Index& k) const {
  const bool kept = k[2] < half_width();
  const Index at = kept ? k : mirrored(k);
  const int64_t i = (at[0] * extent_[1] + at[1]) * extent_[2] + at[2];
  const std::complex<double> value(real_[i], imaginary_[i]);
  return kept ? value : std::conj(value);
}

}  // namespace vg::kernels
