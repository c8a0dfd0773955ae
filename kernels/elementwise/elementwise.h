// Fill, copy, cast, add and multiply on strided views.
//
// Functions for bfloat16 compute in float and round once, to nearest, ties to even. All but cast run on CUDA
// only; on the CPU they throw std::invalid_argument.
#pragma once

#include <span>

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::kernels {

/// y = value.
void fill(View<float> y, float value, const Exec& exec);
void fill(View<bfloat16> y, float value, const Exec& exec);
void fill(View<uint8_t> y, uint8_t value, const Exec& exec);

/// An array that is written.
struct OutputArray {
  float* data;
  int64_t count;
};

/// Sets all arrays to zero; on CUDA in one launch for up to 512 of them.
void zero_arrays(std::span<const OutputArray> arrays, const Exec& exec);

/// Writes zeros into the halo of y (which has y.halo voxels around it).
void zero_halo(View<float> y, const Exec& exec);
void zero_halo(View<bfloat16> y, const Exec& exec);

/// y = x; overwrites. Views may differ in strides: this is also concat (copy into channel slices) and its
/// gradient.
void copy(View<float> y, View<const float> x, const Exec& exec);
void copy(View<bfloat16> y, View<const bfloat16> x, const Exec& exec);
void copy(View<uint8_t> y, View<const uint8_t> x, const Exec& exec);

/// Casts; to bfloat16 rounds to nearest even, NaN stays NaN.
void cast(View<bfloat16> y, View<const float> x, const Exec& exec);
void cast(View<float> y, View<const bfloat16> x, const Exec& exec);

/// y = a + b; overwrites; y may be a or b.
void add(View<float> y, View<const float> a, View<const float> b, const Exec& exec);
void add(View<bfloat16> y, View<const bfloat16> a, View<const bfloat16> b, const Exec& exec);

/// y += factor * x; accumulates.
void accumulate(View<float> y, View<const float> x, float factor, const Exec& exec);
void accumulate(View<bfloat16> y, View<const bfloat16> x, float factor, const Exec& exec);

/// y = factor * x; overwrites; y may be x.
void scale(View<float> y, View<const float> x, float factor, const Exec& exec);
void scale(View<bfloat16> y, View<const bfloat16> x, float factor, const Exec& exec);

/// y = a * b; overwrites. b has the channels of a, or one channel that is broadcast.
void multiply(View<float> y, View<const float> a, View<const float> b, const Exec& exec);
void multiply(View<bfloat16> y, View<const bfloat16> a, View<const bfloat16> b, const Exec& exec);

/// da = dy * b, db = dy * a (summed over channels if b has one); overwrites both. da may be dy.
void multiply_backward(View<float> da, View<float> db, View<const float> dy, View<const float> a,
                       View<const float> b, const Exec& exec);
void multiply_backward(View<bfloat16> da, View<bfloat16> db, View<const bfloat16> dy, View<const bfloat16> a,
                       View<const bfloat16> b, const Exec& exec);

}  // namespace vg::kernels
