// Exercise (CUDA): the sum of a block of threads by shuffles. Page: kernels/reduce/README.md.
#pragma once

#include <cuda_runtime.h>

#include "exercises/support/not_solved.h"

namespace exercise::reduce {

/// sums[b] = sum of the 1024 values from values[1024 b] on, for b = 0 .. blocks - 1; both in device memory.
///
/// Write a kernel of 256 threads a block, a block for each sum, and launch it here. Each thread adds four
/// values; __shfl_xor_sync(0xffffffff, v, distance) hands v to the lane whose number differs in one bit, so
/// five of them sum a warp; eight warps meet in shared memory.
///
/// Solved when: sums are right, the same bits each time, without atomics; and a float of shared memory for
/// each warp, not for each thread, is enough.
inline void block_sums(float* sums, const float* values, int blocks) {
  not_solved();
}

/// The kernel, for the grader to ask for its shared memory.
inline const void* block_sums_kernel_pointer() {
  not_solved();
}

}  // namespace exercise::reduce
