// Rung 2 of the CPU: a vector of output channels. Channels are the fastest index of an activation, so that
// the 16 (AVX-512; 8, 4) sums of neighbouring output channels of a voxel fill a register: one input,
// broadcast, times one vector of weights. That asks for weights with o as the fastest index: packed once.
//
// The input has a zero voxel on each face (its halo): taps that fall outside read zeros, and every if is
// gone.
//
// What holds it back: each FMA waits for the one before it, for both add to the same register. A processor
// that starts two FMAs a cycle and finishes one after four does an eighth of what it could.
#include "bench/ladder/conv3d/packing.h"
#include "bench/ladder/conv3d/rungs.h"
#include "kernels/common/simd.h"

namespace vg::ladder::cpu::VG_ISA {

using namespace kernels::cpu::VG_ISA;

void channels_last(View<float> y, View<const float> x, const float* weight, const Exec& exec) {
  kernels::WorkspaceScope scope(*exec.workspace);
  float* const packed = scope.allocate<float>(static_cast<size_t>(27 * x.c * y.c));
  pack_taps(packed, weight, x.c, y.c);  // [tap][i][o]
#pragma omp parallel for
  for (int64_t row = 0; row < y.rows(); ++row) {
    const int64_t n = row / (y.d * y.h), d = row / y.h % y.d, h = row % y.h;
    for (int64_t w = 0; w < y.w; ++w) {
      for (int64_t o = 0; o < y.c; o += lanes) {
        Vec sum{};
        for (int tap = 0; tap < 27; ++tap) {
          const float* const voxel = x.at(n, d + tap / 9 - 1, h + tap / 3 % 3 - 1, w + tap % 3 - 1);
          const float* const weights = packed + tap * x.c * y.c + o;
          for (int64_t i = 0; i < x.c; ++i) sum += broadcast(voxel[i]) * load(weights + i * y.c);
        }
        store(y.at(n, d, h, w) + o, sum);
      }
    }
  }
}

}  // namespace vg::ladder::cpu::VG_ISA
