// Rung 5 of the CPU: fewer products. When the FMA units are busy, the only way to go faster is to give them
// less to do. Winograd's minimal filtering F(2,3): two outputs of a row with three taps from four inputs with
// four products in place of six.
//
//   y0 = x0 g0 + x1 g1 + x2 g2         m0 = (x0 - x2) g0                   y0 = m0 + m1 + m2
//   y1 = x1 g0 + x2 g1 + x3 g2         m1 = (x1 + x2) (g0 + g1 + g2) / 2   y1 = m1 - m2 + m3
//                                      m2 = (x2 - x1) (g0 - g1 + g2) / 2
//                                      m3 = (x3 - x1) g2
//
// (kernels/conv3d/README.md derives it.) Done along D and along H: 4 x 4 inputs, 16 products for 2 x 2
// outputs of 9 taps each, 36 products. Along W nothing is transformed: there the sliding window goes on. The
// additions of the transforms are made once for all output (input) channels, the products for each pair.
#include "bench/ladder/conv3d/rungs.h"
#include "bench/ladder/conv3d/sliding_tile.h"

namespace vg::ladder::cpu::VG_ISA {

namespace {

// Four values, vectors or floats, `step` apart, become the factors of m0 to m3.
template <class T>
VG_INLINE void transform_input(T* v, int step) {
  const T x0 = v[0], x1 = v[step], x2 = v[2 * step], x3 = v[3 * step];
  v[0] = x0 - x2, v[step] = x1 + x2, v[2 * step] = x2 - x1, v[3 * step] = x3 - x1;
}
// m0 to m3 become two outputs, in the first two places.
VG_INLINE void transform_output(Vec* m, int step) {
  const Vec sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
  m[0] = m[0] + sum, m[step] = difference + m[3 * step];
}
// Three weights become the other factors, in four places.
VG_INLINE void transform_weight(float* g, int step) {
  const float g0 = g[0], g1 = g[step], g2 = g[2 * step];
  g[step] = 0.5f * (g0 + g1 + g2), g[2 * step] = 0.5f * (g0 - g1 + g2), g[3 * step] = g2;
}

// packed[frequency = 4 fd + fh][i][kw][o].
void pack_frequencies(float* packed, const float* weight, int64_t in, int64_t out) {
  for (int64_t i = 0; i < in; ++i) {
    for (int64_t kw = 0; kw < 3; ++kw) {
      for (int64_t o = 0; o < out; ++o) {
        float g[16];
        for (int row = 0; row < 9; ++row) g[row / 3 * 4 + row % 3] = weight[(o * in + i) * 27 + row * 3 + kw];
        for (int kd = 0; kd < 3; ++kd) transform_weight(g + 4 * kd, 1);
        for (int fh = 0; fh < 4; ++fh) transform_weight(g + fh, 4);
        for (int f = 0; f < 16; ++f) packed[((f * in + i) * 3 + kw) * out + o] = g[f];
      }
    }
  }
}

// transformed[frequency][w + 1][i] of the 4 x 4 rows from (d - 1, h - 1) on; rows beyond the halo are zero.
VG_INLINE void transform_rows(float* transformed, const View<const float>& x, int64_t n, int64_t d,
                              int64_t h) {
  for (int64_t w = 0; w < x.w + 2; ++w) {
    for (int64_t i = 0; i < x.c; i += lanes) {
      Vec v[16];
#pragma GCC unroll 16
      for (int f = 0; f < 16; ++f) {
        const int64_t zd = d - 1 + f / 4, zh = h - 1 + f % 4;
        v[f] = zd <= x.d && zh <= x.h ? load(x.at(n, zd, zh, w - 1) + i) : Vec{};
      }
#pragma GCC unroll 4
      for (int a = 0; a < 4; ++a) transform_input(v + 4 * a, 1);
#pragma GCC unroll 4
      for (int b = 0; b < 4; ++b) transform_input(v + b, 4);
#pragma GCC unroll 16
      for (int f = 0; f < 16; ++f) store(transformed + (f * (x.w + 2) + w) * x.c + i, v[f]);
    }
  }
}

// The 2 x 2 rows of outputs from products[frequency][w][o]; rows outside of y are left out.
VG_INLINE void store_rows(const View<float>& y, const float* products, int64_t n, int64_t d, int64_t h) {
  for (int64_t w = 0; w < y.w; ++w) {
    for (int64_t o = 0; o < y.c; o += lanes) {
      Vec m[16];
#pragma GCC unroll 16
      for (int f = 0; f < 16; ++f) m[f] = load(products + (f * y.w + w) * y.c + o);
#pragma GCC unroll 4
      for (int b = 0; b < 4; ++b) transform_output(m + b, 4);
#pragma GCC unroll 2
      for (int a = 0; a < 2; ++a) {
        transform_output(m + 4 * a, 1);
#pragma GCC unroll 2
        for (int b = 0; b < 2; ++b) {
          if (d + a < y.d && h + b < y.h) store(y.at(n, d + a, h + b, w) + o, m[4 * a + b]);
        }
      }
    }
  }
}

}  // namespace

void winograd(View<float> y, View<const float> x, const float* weight, const Exec& exec) {
  kernels::WorkspaceScope scope(*exec.workspace);
  float* const packed = scope.allocate<float>(static_cast<size_t>(16 * 3 * x.c * y.c));
  pack_frequencies(packed, weight, x.c, y.c);
  // A strip: 2 x 2 rows of outputs. Its transformed inputs and its products are scratch of its own (84 KB
  // each with 16 channels and W = 80), so that strips need nothing of each other; there are few enough rows
  // of scratch for a thread to stay in its second-level cache.
  const int64_t inputs = 16 * (x.w + 2) * x.c, products = 16 * y.w * y.c;
  const int64_t strips_d = (y.d + 1) / 2, strips_h = (y.h + 1) / 2, strips = y.n * strips_d * strips_h;
  constexpr int64_t pieces = 64;  // of the strips: whoever computes one uses its scratch
  float* const scratch = scope.allocate<float>(static_cast<size_t>(pieces * (inputs + products)));
#pragma omp parallel for
  for (int64_t piece = 0; piece < pieces; ++piece) {
    float* const transformed = scratch + piece * (inputs + products);
    float* const product = transformed + inputs;
    for (int64_t strip = strips * piece / pieces; strip < strips * (piece + 1) / pieces; ++strip) {
      const int64_t n = strip / (strips_d * strips_h), d = strip / strips_h % strips_d * 2,
                    h = strip % strips_h * 2;
      transform_rows(transformed, x, n, d, h);
      for (int f = 0; f < 16; ++f) {
        const float* const row = transformed + f * (x.w + 2) * x.c;
        sliding_row(product + f * y.w * y.c, y.c, y.w, &row, 1, x.c, x.c, packed + f * 3 * x.c * y.c, y.c);
      }
      store_rows(y, product, n, d, h);
    }
  }
}

}  // namespace vg::ladder::cpu::VG_ISA
