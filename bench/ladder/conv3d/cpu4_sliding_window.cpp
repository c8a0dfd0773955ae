// Rung 4 of the CPU: a window that slides along W (sliding_tile.h). Now two FMAs a cycle have their operands,
// and the FMA units are the bound: what remains to the peak is rows that start and end, and memory.
#include "bench/ladder/conv3d/packing.h"
#include "bench/ladder/conv3d/rungs.h"
#include "bench/ladder/conv3d/sliding_tile.h"

namespace vg::ladder::cpu::VG_ISA {

void sliding_window(View<float> y, View<const float> x, const float* weight, const Exec& exec) {
  kernels::WorkspaceScope scope(*exec.workspace);
  float* const packed = scope.allocate<float>(static_cast<size_t>(27 * x.c * y.c));
  pack_rows(packed, weight, x.c, y.c);  // [kd, kh][i][kw][o]
#pragma omp parallel for
  for (int64_t row = 0; row < y.rows(); ++row) {
    const int64_t n = row / (y.d * y.h), d = row / y.h % y.d, h = row % y.h;
    const float* inputs[9];  // of the nine rows (kd, kh), from w = -1 on
    for (int tap = 0; tap < 9; ++tap) inputs[tap] = x.at(n, d + tap / 3 - 1, h + tap % 3 - 1, -1);
    sliding_row(y.at(n, d, h), y.stride_w, y.w, inputs, 9, x.stride_w, x.c, packed, y.c);
  }
}

}  // namespace vg::ladder::cpu::VG_ISA
