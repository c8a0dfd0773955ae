// Exercise: a transposed convolution in gather form. Page: kernels/conv_transpose3d/README.md, "Index map".
#pragma once

#include <vector>

#include "exercises/support/not_solved.h"

namespace exercise::conv_transpose3d {

struct Tap {
  int input;  ///< index along this axis
  int tap;    ///< 0, 1 or 2
};

/// Along one axis, kernel 3, stride 2, padding 1: input z adds w[k] x[z] to output 2 z - 1 + k, if there is
/// one (outputs 0 .. 2 inputs - 1). That is scatter form: two inputs add to one output, so threads that take
/// an input each would need atomics. Turn it round: the inputs and taps that output u collects, with the
/// smallest input first.
///
/// Solved when: the taps of all outputs are those of the scatter form, and a 3D volume summed by them is
/// right.
inline std::vector<Tap> taps_of(int u, int inputs) {
  not_solved();
}

}  // namespace exercise::conv_transpose3d
