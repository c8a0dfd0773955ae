// Exercise: one load feeds three multiply-adds. Page: kernels/conv3d/README.md.
#pragma once

#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::conv3d {

/// A row of a convolution with three taps: y[w] += taps[0] x[w] + taps[1] x[w + 1] + taps[2] x[w + 2] for w =
/// 0 .. width - 1. x.load(i) reads x[i], i = 0 .. width + 1, and counts; y[w] is a float& and counts too.
///
/// Written as the formula stands, each output loads three values of x, and the loads, not the multiply-adds,
/// are what the loop waits for. But x[i] is used by the outputs i, i - 1 and i - 2.
///
/// Solved when: y is right for any width (0 and 1 too), each x[i] is loaded at most once, and each y[w] is
/// touched at most twice (read, written). Local variables are registers: they are not counted.
template <class Input, class Output>
void add_row(Output& y, Input& x, const float (&taps)[3], int64_t width) {
  not_solved();
}

}  // namespace exercise::conv3d
