// Activations on vectors, for the passes that fuse them. For *_cpu.cpp.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/common/simd.h"

namespace vg::kernels::cpu::VG_ISA {

// NaN fails `v <= 0`, so it passes through every activation.
struct Identity {
  static VG_INLINE Vec value(Vec v, Vec) { return v; }
  static VG_INLINE Vec gradient(Vec dy, Vec, Vec) { return dy; }
};
struct Relu {
  static VG_INLINE Vec value(Vec v, Vec) { return v <= 0.0f ? Vec{} : v; }
  static VG_INLINE Vec gradient(Vec dy, Vec v, Vec) { return v <= 0.0f ? Vec{} : dy; }
};
/// leaky_relu and prelu.
struct Leaky {
  static VG_INLINE Vec value(Vec v, Vec slope) { return v <= 0.0f ? v * slope : v; }
  static VG_INLINE Vec gradient(Vec dy, Vec v, Vec slope) { return v <= 0.0f ? dy * slope : dy; }
};

/// Slopes of the channels from `c` on: one each, or the one that all share.
template <class Block>
VG_INLINE Vec load_slopes(const Block& block, const float* slope, int64_t slope_count, int64_t c) {
  return slope_count == 1 ? broadcast(slope[0]) : block.load(slope + c);
}

/// Calls body(Identity{}), body(Relu{}) or body(Leaky{}); not for sigmoid.
template <class Body>
inline void with_activation(ActivationKind kind, const Body& body) {
  if (kind == ActivationKind::identity) return body(Identity{});
  if (kind == ActivationKind::relu) return body(Relu{});
  body(Leaky{});
}

}  // namespace vg::kernels::cpu::VG_ISA
