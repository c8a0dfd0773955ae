// Exercise: a shuffle without a list. Page: kernels/random/README.md.
#pragma once

#include <cstdint>
#include "kernels/common/philox.h"

#include "exercises/support/not_solved.h"

namespace exercise::random {

/// Element `index` of a random permutation of 0 .. count - 1, without a list of count numbers: any thread can
/// ask for any element. A Feistel network (left, right) <- (right, left ^ f(right, round)) is a bijection for
/// any f; over 2 k bits with 4^k >= count, it permutes a little more than is asked for, so walk on while the
/// result is not below count. f: a word of vg::kernels::philox(seed, right, round), cut to k bits; six rounds
/// are enough. index < count.
inline uint64_t shuffled_index(uint64_t index, uint64_t count, uint64_t seed) {
  not_solved();
}

}  // namespace exercise::random
