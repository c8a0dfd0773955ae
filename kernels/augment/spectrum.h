// The discrete Fourier transform of a volume, for what needs to look at it.
#pragma once

#include <array>
#include <complex>
#include <vector>

#include "kernels/augment/volumes.h"

namespace vg::kernels {

/// S[k] = sum over voxels v of x[v] exp(-2 pi i (kd d / D + kh h / H + kw w / W)), on the host. Of a real
/// volume S[-k] is the conjugate of S[k], so that half of it is kept: kw = 0 to half_width() - 1.
class Spectrum {
 public:
  /// [kd, kh, kw], each from 0 to the extent - 1.
  using Index = std::array<int64_t, 3>;

  /// Of x, one volume. Waits for the stream. Holds scratch memory of exec.workspace while it lives.
  Spectrum(View<const float> x, const Exec& exec);

  [[nodiscard]] const Index& extent() const { return extent_; }
  [[nodiscard]] int64_t half_width() const { return extent_[2] / 2 + 1; }
  /// The real parts of the kept half at [kd, kh], in the order of kw.
  [[nodiscard]] const float* real_row(int64_t kd, int64_t kh) const {
    return real_ + (kd * extent_[1] + kh) * extent_[2];
  }
  [[nodiscard]] std::complex<double> operator[](const Index& k) const;
  /// The place of S[-k].
  [[nodiscard]] Index mirrored(const Index& k) const;

 private:
  WorkspaceScope scope_;
  Index extent_;
  std::vector<float> copy_;         // of what is on another device
  const float *real_, *imaginary_;  // [D][H][W], of which the kept half is set
};

}  // namespace vg::kernels
