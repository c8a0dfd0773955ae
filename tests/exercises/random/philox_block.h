// Exercise: the generator itself. Page: kernels/random/README.md.
#pragma once

#include <array>
#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::random {

/// Philox 4x32-10 on one counter, from the paper: ten rounds of
///     (x, y, z, w) <- (hi(M1 z) ^ y ^ k0, lo(M1 z), hi(M0 x) ^ w ^ k1, lo(M0 x)),   M0 = 0xD2511F53, M1 =
///     0xCD9E8D57
/// and after each round k0 += 0x9E3779B9, k1 += 0xBB67AE85 (modulo 2^32). hi and lo are the halves of the
/// 64-bit product. Without kernels/common/philox.h, please.
inline std::array<uint32_t, 4> philox_block(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  not_solved();
}

}  // namespace exercise::random
