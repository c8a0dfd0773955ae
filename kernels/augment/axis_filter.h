// A linear map along one axis of volumes: the Fourier filters of ghosting and motion, blurring, resampling
// along one axis.
#pragma once

#include <span>
#include <vector>

#include "kernels/augment/volumes.h"

namespace vg::kernels {

/// The extent along an axis (0: D, 1: H, 2: W). Throws std::invalid_argument for any other.
int64_t axis_length(const char* function, const View<const float>& x, int axis);

/// y[.., i, ..] = sum over j of matrix[i * length + j] * x[.., j, ..] along `axis` (0: D, 1: H, 2: W), whose
/// length is that of x and y; with `accumulate`, y += that. `matrix` is host memory. Throws
/// std::invalid_argument for another axis or size.
void axis_filter(View<float> y, View<const float> x, std::span<const float> matrix, int axis, bool accumulate,
                 const Exec& exec);

/// What becomes of a line when the planes of its centred spectrum are multiplied by `factors` and the real
/// part of the inverse transform is taken: output i weighs input j by element (i - j) modulo the length of
/// the result. Plane p is frequency p - length / 2.
std::vector<double> spectral_kernel(std::span<const double> factors);

}  // namespace vg::kernels
