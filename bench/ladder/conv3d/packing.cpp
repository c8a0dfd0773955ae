#include "bench/ladder/conv3d/packing.h"

namespace vg::ladder::cpu {

void pack_taps(float* packed, const float* weight, int64_t in, int64_t out) {
  for (int64_t tap = 0; tap < 27; ++tap) {
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t o = 0; o < out; ++o) *packed++ = weight[(o * in + i) * 27 + tap];
    }
  }
}

void pack_rows(float* packed, const float* weight, int64_t in, int64_t out) {
  for (int64_t row = 0; row < 9; ++row) {
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t kw = 0; kw < 3; ++kw) {
        for (int64_t o = 0; o < out; ++o) *packed++ = weight[(o * in + i) * 27 + row * 3 + kw];
      }
    }
  }
}

}  // namespace vg::ladder::cpu
