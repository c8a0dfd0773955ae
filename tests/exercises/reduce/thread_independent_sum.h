// Exercise: the same bits for any number of threads. Page: kernels/reduce/README.md, "Index map".
#pragma once

#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::reduce {

/// The sum of values[0] .. values[count - 1], by threads. `run(pieces, work)` calls work(piece) for piece = 0
/// .. pieces - 1, each once, from as many threads as there are, in any order: what it writes must be its own.
///
/// Float addition is not associative: partial sums that depend on the number of threads give other bits on
/// another machine.
///
/// Solved when: same bits for 1 to 8 threads, in whatever order they finish; work is cut into at least 8
/// pieces where there are 2^20 values; and `count` = 0 and 1 work.
template <class Run>
float thread_independent_sum(const float* values, int64_t count, const Run& run) {
  not_solved();
}

}  // namespace exercise::reduce
