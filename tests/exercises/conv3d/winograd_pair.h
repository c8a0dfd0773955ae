// Exercise: two outputs of three taps with four multiplications. Page: kernels/conv3d/README.md, "Winograd".
#pragma once

#include <array>

#include "exercises/support/not_solved.h"

namespace exercise::conv3d {

/// The taps g of a filter, transformed once and used for all outputs: G g with the page's G for M = 2.
inline std::array<float, 4> transform_taps(const std::array<float, 3>& g) {
  not_solved();
}

/// y[0] = g0 x0 + g1 x1 + g2 x2 and y[1] = g0 x1 + g1 x2 + g2 x3, from x and transform_taps(g): A^T [(G g) .
/// (B^T x)]. Number has +, - and *, and counts.
///
/// Solved when: y is right, with four multiplications (the direct way takes six) and at most eight additions
/// and subtractions.
template <class Number>
std::array<Number, 2> winograd_pair(const std::array<Number, 4>& x,
                                    const std::array<Number, 4>& transformed) {
  not_solved();
}

}  // namespace exercise::conv3d
