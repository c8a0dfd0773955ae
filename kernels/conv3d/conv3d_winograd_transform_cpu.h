// Winograd's transforms along D and H, on vectors of channels. For *_cpu.cpp.
//
// F(M, 3) computes M outputs of a kernel of 3 taps from M + 2 inputs with M + 2 products ("frequencies"):
// y = A^T [(G g) . (B^T x)], where . multiplies element by element. Toom and Cook: the frequencies are values
// of polynomials at M + 1 points and the leading coefficient. Points 0, 1, -1 for M = 2; 0, +-a, +-b for M =
// 4 with a^2 = 1/2 and b^2 = 2, whose powers are of like size: rounding errors are a third of those with
// +-1, +-2. The README derives the matrices.
#pragma once

#include "kernels/common/simd.h"

namespace vg::kernels::cpu::VG_ISA {

/// The five transforms of F(M, 3), in place on every Step-th element of x.
template <int M>
struct Winograd;

template <>
struct Winograd<2> {
  template <int Step>
  VG_INLINE static void input(Vec* x) {  // B^T
    const Vec x0 = x[0], x1 = x[Step], x2 = x[2 * Step], x3 = x[3 * Step];
    x[0] = x0 - x2, x[Step] = x1 + x2, x[2 * Step] = x2 - x1, x[3 * Step] = x3 - x1;
  }
  template <int Step>
  VG_INLINE static void output(Vec* m) {  // A^T
    const Vec sum = m[Step] + m[2 * Step], difference = m[Step] - m[2 * Step];
    m[0] += sum, m[Step] = difference + m[3 * Step];
  }
  template <int Step>
  VG_INLINE static void output_gradient(Vec* y) {  // A
    const Vec y0 = y[0], y1 = y[Step];
    y[Step] = y0 + y1, y[2 * Step] = y0 - y1, y[3 * Step] = y1;
  }
  template <int Step>
  VG_INLINE static void filter(Vec* g) {  // G
    const Vec even = 0.5f * (g[0] + g[2 * Step]), odd = 0.5f * g[Step], last = g[2 * Step];
    g[Step] = even + odd, g[2 * Step] = even - odd, g[3 * Step] = last;
  }
  template <int Step>
  VG_INLINE static void filter_gradient(Vec* u) {  // G^T
    const Vec even = 0.5f * (u[Step] + u[2 * Step]), odd = 0.5f * (u[Step] - u[2 * Step]);
    u[0] += even, u[Step] = odd, u[2 * Step] = even + u[3 * Step];
  }
};

template <>
struct Winograd<4> {
  static constexpr float a = 0.70710678f, a2 = 0.5f, a3 = a * a2;
  static constexpr float b = 1.41421356f, b2 = 2, b3 = b * b2;

  template <int Step>
  VG_INLINE static void input(Vec* x) {
    const Vec x0 = x[0], x1 = x[Step], x2 = x[2 * Step], x3 = x[3 * Step], x4 = x[4 * Step], x5 = x[5 * Step];
    const Vec even_a = x4 - b2 * x2, odd_a = x3 - b2 * x1, even_b = x4 - a2 * x2, odd_b = x3 - a2 * x1;
    x[0] = (x4 - (a2 + b2) * x2) + a2 * b2 * x0;
    x[Step] = even_a + a * odd_a, x[2 * Step] = even_a - a * odd_a;
    x[3 * Step] = even_b + b * odd_b, x[4 * Step] = even_b - b * odd_b;
    x[5 * Step] = (x5 - (a2 + b2) * x3) + a2 * b2 * x1;
  }
  template <int Step>
  VG_INLINE static void output(Vec* m) {
    const Vec sum_a = m[Step] + m[2 * Step], difference_a = m[Step] - m[2 * Step];
    const Vec sum_b = m[3 * Step] + m[4 * Step], difference_b = m[3 * Step] - m[4 * Step];
    m[0] = m[0] + sum_a + sum_b;
    m[Step] = a * difference_a + b * difference_b;
    m[2 * Step] = a2 * sum_a + b2 * sum_b;
    m[3 * Step] = (m[5 * Step] + a3 * difference_a) + b3 * difference_b;
  }
  template <int Step>
  VG_INLINE static void output_gradient(Vec* y) {
    const Vec y0 = y[0], y1 = y[Step], y2 = y[2 * Step], y3 = y[3 * Step];
    const Vec even_a = y0 + a2 * y2, odd_a = a * y1 + a3 * y3, even_b = y0 + b2 * y2,
              odd_b = b * y1 + b3 * y3;
    y[Step] = even_a + odd_a, y[2 * Step] = even_a - odd_a;
    y[3 * Step] = even_b + odd_b, y[4 * Step] = even_b - odd_b;
    y[5 * Step] = y3;
  }
  // The rows of G are (1, p, p^2) / product of the distances of p to the other points: 1, -3/2 (a), 6 (b).
  static constexpr float scale_a = -2.0f / 3, scale_b = 1.0f / 6;
  template <int Step>
  VG_INLINE static void filter(Vec* g) {
    const Vec g0 = g[0], g1 = g[Step], g2 = g[2 * Step];
    const Vec even_a = scale_a * (g0 + a2 * g2), odd_a = scale_a * a * g1;
    const Vec even_b = scale_b * (g0 + b2 * g2), odd_b = scale_b * b * g1;
    g[Step] = even_a + odd_a, g[2 * Step] = even_a - odd_a;
    g[3 * Step] = even_b + odd_b, g[4 * Step] = even_b - odd_b;
    g[5 * Step] = g2;
  }
  template <int Step>
  VG_INLINE static void filter_gradient(Vec* u) {
    const Vec even_a = scale_a * (u[Step] + u[2 * Step]), odd_a = scale_a * (u[Step] - u[2 * Step]);
    const Vec even_b = scale_b * (u[3 * Step] + u[4 * Step]), odd_b = scale_b * (u[3 * Step] - u[4 * Step]);
    u[0] = u[0] + even_a + even_b;
    u[Step] = a * odd_a + b * odd_b;
    u[2 * Step] = (u[5 * Step] + a2 * even_a) + b2 * even_b;
  }
};

// Kinds of two-dimensional transforms, with the extents of what they take and give along an axis.
struct InputTransform {
  static constexpr int in(int m) { return m + 2; }
  static constexpr int out(int m) { return m + 2; }
  template <int M, int Step>
  VG_INLINE static void apply(Vec* x) {
    Winograd<M>::template input<Step>(x);
  }
};
struct OutputTransform {
  static constexpr int in(int m) { return m + 2; }
  static constexpr int out(int m) { return m; }
  template <int M, int Step>
  VG_INLINE static void apply(Vec* x) {
    Winograd<M>::template output<Step>(x);
  }
};
struct OutputGradientTransform {
  static constexpr int in(int m) { return m; }
  static constexpr int out(int m) { return m + 2; }
  template <int M, int Step>
  VG_INLINE static void apply(Vec* x) {
    Winograd<M>::template output_gradient<Step>(x);
  }
};
struct FilterTransform {
  static constexpr int in(int) { return 3; }
  static constexpr int out(int m) { return m + 2; }
  template <int M, int Step>
  VG_INLINE static void apply(Vec* x) {
    Winograd<M>::template filter<Step>(x);
  }
};
struct FilterGradientTransform {
  static constexpr int in(int m) { return m + 2; }
  static constexpr int out(int) { return 3; }
  template <int M, int Step>
  VG_INLINE static void apply(Vec* x) {
    Winograd<M>::template filter_gradient<Step>(x);
  }
};

/// Transforms a tile of F(MD, 3) x F(MH, 3): takes load(d, h), along H and then along D, and gives each
/// result to store(d, h, value).
template <class Kind, int MD, int MH, class Load, class Store>
VG_INLINE void transform_tile(const Load& load_element, const Store& store_element) {
  constexpr int pitch = MH + 2, in_d = Kind::in(MD), in_h = Kind::in(MH), out_d = Kind::out(MD),
                out_h = Kind::out(MH);
  Vec tile[(MD + 2) * pitch];
#pragma GCC unroll 8
  for (int d = 0; d < in_d; ++d) {
#pragma GCC unroll 8
    for (int h = 0; h < in_h; ++h) tile[d * pitch + h] = load_element(d, h);
    Kind::template apply<MH, 1>(tile + d * pitch);
  }
#pragma GCC unroll 8
  for (int h = 0; h < out_h; ++h) {
    Kind::template apply<MD, pitch>(tile + h);
#pragma GCC unroll 8
    for (int d = 0; d < out_d; ++d) store_element(d, h, tile[d * pitch + h]);
  }
}

}  // namespace vg::kernels::cpu::VG_ISA
