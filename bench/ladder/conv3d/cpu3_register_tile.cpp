// Rung 3 of the CPU: a tile of sums in registers. 20 outputs along W (10 where a processor has 16 registers)
// times one vector of output channels grow side by side: 20 chains of FMAs, none waits for another, and a
// vector of weights is loaded once for all of them.
//
//   for each tap and i:    w = weights[tap][i][o ..]            1 load
//                          sum[j] += x[w + j][i] * w            20 broadcasts, 20 FMAs
//
// What holds it back: 21 loads for 20 FMAs. A core loads two registers a cycle and starts two FMAs a cycle,
// so the loads are the bound, if only just.
#include "bench/ladder/conv3d/packing.h"
#include "bench/ladder/conv3d/rungs.h"
#include "kernels/common/simd.h"

namespace vg::ladder::cpu::VG_ISA {

using namespace kernels::cpu::VG_ISA;

namespace {

// With a vector of weights and a broadcast they fit into 32 or 16 registers.
constexpr int tile = lanes == 16 ? 20 : 10;

// Outputs w to w + Width - 1 of a row, channels o to o + lanes - 1.
template <int Width>
VG_INLINE void compute(const View<float>& y, const View<const float>& x, const float* packed, int64_t n,
                       int64_t d, int64_t h, int64_t w, int64_t o) {
  Vec sum[Width]{};
  for (int tap = 0; tap < 27; ++tap) {
    const float* const voxels = x.at(n, d + tap / 9 - 1, h + tap / 3 % 3 - 1, w + tap % 3 - 1);
    const float* const weights = packed + tap * x.c * y.c + o;
#pragma GCC unroll 1
    for (int64_t i = 0; i < x.c; ++i) {
      const Vec v = load(weights + i * y.c);
      const float* input = voxels + i;
#pragma GCC unroll 20
      for (int j = 0; j < Width; ++j, input += x.stride_w) sum[j] += broadcast(*input) * v;
    }
  }
#pragma GCC unroll 20
  for (int j = 0; j < Width; ++j) store(y.at(n, d, h, w + j) + o, sum[j]);
}

}  // namespace

void register_tile(View<float> y, View<const float> x, const float* weight, const Exec& exec) {
  kernels::WorkspaceScope scope(*exec.workspace);
  float* const packed = scope.allocate<float>(static_cast<size_t>(27 * x.c * y.c));
  pack_taps(packed, weight, x.c, y.c);
#pragma omp parallel for
  for (int64_t row = 0; row < y.rows(); ++row) {
    const int64_t n = row / (y.d * y.h), d = row / y.h % y.d, h = row % y.h;
    for (int64_t o = 0; o < y.c; o += lanes) {
      int64_t w = 0;
      for (; w + tile <= y.w; w += tile) compute<tile>(y, x, packed, n, d, h, w, o);
      for (; w < y.w; ++w) compute<1>(y, x, packed, n, d, h, w, o);
    }
  }
}

}  // namespace vg::ladder::cpu::VG_ISA
