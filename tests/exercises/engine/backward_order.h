// Exercise: the order of a backward pass. Page: engine/README.md.
#pragma once

#include <vector>

#include "exercises/support/not_solved.h"

namespace exercise::engine {

/// inputs[n] are the operations whose outputs operation n took (an operation may appear twice: x x). The loss
/// is the output of `root`. Returns the operations that the loss depends on, each once, in an order in which
/// each comes after all those that took its output: only then is its gradient complete.
///
/// Solved when: that holds for graphs of any shape, with numbers in any order, and for a chain of a million
/// operations, on which a recursive function would run out of stack. The time must grow with the number of
/// edges, not its square.
inline std::vector<int> backward_order(const std::vector<std::vector<int>>& inputs, int root) {
  not_solved();
}

}  // namespace exercise::engine
