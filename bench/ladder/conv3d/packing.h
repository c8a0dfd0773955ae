// Weights in the orders that the rungs read them in. From PyTorch's: weight[(o * in + i) * 27 + tap].
#pragma once

#include <cstdint>

#include "kernels/common/exec.h"

namespace vg::ladder {

namespace cpu {
/// packed[tap][i][o].
void pack_taps(float* packed, const float* weight, int64_t in, int64_t out);
/// packed[kd * 3 + kh][i][kw][o]: the three taps along W of an input channel side by side.
void pack_rows(float* packed, const float* weight, int64_t in, int64_t out);
}  // namespace cpu

namespace cuda {
/// packed[tap][i][o], on the device.
void pack_taps(float* packed, const float* weight, int64_t in, int64_t out, const kernels::Exec& exec);

/// Which output channel is column n of fragment j of 16 channels. `natural`: 8 j + n. `by_lane`: of 16
/// columns of sums a lane holds 2 q and 2 q + 1 of both fragments; let these be channels 4 q to 4 q + 3.
enum class ColumnOrder { natural, by_lane };
/// Weights as the B operand of mma.m16n8k16, two bfloat16 a word (kernels/common/ptx/matrix.cuh has the
/// layout): packed[o / 16][i / 16][tap][lane][4 words: b0, b1 of fragment 0, b0, b1 of fragment 1], so that a
/// lane gets what a tap needs with one load of 16 bytes.
void pack_fragments(uint32_t* packed, const float* weight, int64_t in, int64_t out, ColumnOrder order,
                    const kernels::Exec& exec);
/// Words of one tap of 16 x 16 channels.
inline constexpr int fragment_words = 32 * 4;
}  // namespace cuda

}  // namespace vg::ladder
