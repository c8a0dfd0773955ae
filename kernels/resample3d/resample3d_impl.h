#pragma once

#include "kernels/common/dispatch.h"
#include "kernels/resample3d/resample3d.h"

namespace vg::kernels {

VG_DECLARE_CPU_IMPLEMENTATIONS(void resample3d_forward(View<float> y, View<const float> x,
                                                       const Resample3dParams& params, const Exec& exec);
                               void resample3d_backward(View<float> dx, View<const float> dy,
                                                        const Resample3dParams& params, const Exec& exec);)

// T is float or bfloat16.
namespace cuda {
template <class T>
void resample3d_forward(View<T> y, View<const T> x, const Resample3dParams& params, const Exec& exec);
template <class T>
void resample3d_backward(View<T> dx, View<const T> dy, const Resample3dParams& params, const Exec& exec);
}  // namespace cuda

/// Resampling is separable: each axis maps output indices to two neighbouring input indices (one of weight 0
/// for `nearest`).
struct alignas(16) AxisSource {  // one load
  int32_t lower, upper;
  float upper_weight;

  /// The weight with which input `index` enters the output; 1 if it is both lower and upper.
  VG_INLINE float weight(int64_t index) const {
    return (lower == index ? 1 - upper_weight : 0.0f) + (upper == index ? upper_weight : 0.0f);
  }
};

/// The outputs [begin, end) that an input enters. Both indices of AxisSource grow with the output, so that
/// these are neighbours.
struct alignas(8) AxisOutputs {
  int32_t begin, end;
};

struct Axis {
  int64_t in, out;
  Resample3dParams params;

  /// The source of output `index`. PyTorch finds it in float; for trilinear it is a fraction, whose integer
  /// part and remainder are exact here, the same on every device.
  VG_INLINE AxisSource source(int64_t index) const {
    if (params.mode == ResampleMode::nearest) {
      const float scale = static_cast<float>(in) / static_cast<float>(out);
      const auto position = static_cast<int64_t>(static_cast<float>(index) * scale);
      const auto nearest = static_cast<int32_t>(position < in - 1 ? position : in - 1);
      return {nearest, nearest, 0};
    }
    int64_t numerator = (2 * index + 1) * in - out, denominator = 2 * out;  // in/out * (index + 1/2) - 1/2
    if (params.align_corners) numerator = index * (in - 1), denominator = out > 1 ? out - 1 : 1;
    if (numerator < 0) numerator = 0;
    const int64_t lower = numerator / denominator, rest = numerator % denominator;
    return {static_cast<int32_t>(lower), static_cast<int32_t>(lower + 1 < in ? lower + 1 : lower),
            static_cast<float>(rest) / static_cast<float>(denominator)};
  }

  VG_INLINE AxisOutputs outputs(int64_t index) const {
    return {first_output([&](const AxisSource& s) { return s.upper >= index; }),
            first_output([&](const AxisSource& s) { return s.lower > index; })};
  }

 private:
  /// The first output whose source satisfies a condition that stays true from there on.
  template <class Condition>
  VG_INLINE int32_t first_output(const Condition& condition) const {
    int64_t low = 0, high = out;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (condition(source(middle))) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return static_cast<int32_t>(low);
  }
};

/// The three axes of a resampling and, behind each other in the order d, h, w, the sources of all outputs and
/// the outputs of all inputs.
struct ResampleTables {
  Axis axis[3];
  AxisSource* sources;
  AxisOutputs* outputs;  ///< null for forward

  template <class T, class U>
  static ResampleTables make(const View<T>& in, const View<U>& out, const Resample3dParams& params,
                             WorkspaceScope& scope, bool backward) {
    return {{{in.d, out.d, params}, {in.h, out.h, params}, {in.w, out.w, params}},
            scope.allocate<AxisSource>(static_cast<size_t>(out.d + out.h + out.w)),
            backward ? scope.allocate<AxisOutputs>(static_cast<size_t>(in.d + in.h + in.w)) : nullptr};
  }
  /// Entries that `fill` must be called for.
  VG_INLINE int64_t entries() const {
    return source_offset(3) > output_offset(3) ? source_offset(3) : output_offset(3);
  }
  VG_INLINE void fill(int64_t entry) const {
    for (int a = 0; a < 3; ++a) {
      const int64_t o = entry - source_offset(a), i = entry - output_offset(a);
      if (o >= 0 && o < axis[a].out) sources[entry] = axis[a].source(o);
      if (outputs != nullptr && i >= 0 && i < axis[a].in) outputs[entry] = axis[a].outputs(i);
    }
  }
  VG_INLINE const AxisSource* sources_of(int a) const { return sources + source_offset(a); }
  VG_INLINE const AxisOutputs* outputs_of(int a) const { return outputs + output_offset(a); }

 private:
  VG_INLINE int64_t source_offset(int a) const {
    int64_t offset = 0;
    for (int i = 0; i < a; ++i) offset += axis[i].out;
    return offset;
  }
  VG_INLINE int64_t output_offset(int a) const {
    int64_t offset = 0;
    for (int i = 0; i < a; ++i) offset += axis[i].in;
    return offset;
  }
};

}  // namespace vg::kernels
