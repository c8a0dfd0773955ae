#pragma once

#include <cstddef>
#include <vector>

namespace exercise::engine {

// Counts the uses of each operation among those that the loss depends on; one whose uses have all run is
// ready (Kahn, 1962). The engine sorts by depth instead, which it knows from the forward pass.
inline std::vector<int> backward_order(const std::vector<std::vector<int>>& inputs, int root) {
  std::vector<int> uses(inputs.size(), 0), found{root};
  std::vector<bool> seen(inputs.size(), false);
  seen[static_cast<size_t>(root)] = true;
  for (size_t i = 0; i < found.size(); ++i) {
    for (const int input : inputs[static_cast<size_t>(found[i])]) {
      ++uses[static_cast<size_t>(input)];
      if (seen[static_cast<size_t>(input)]) continue;
      seen[static_cast<size_t>(input)] = true;
      found.push_back(input);
    }
  }
  std::vector<int> order{root};
  for (size_t i = 0; i < order.size(); ++i) {
    for (const int input : inputs[static_cast<size_t>(order[i])]) {
      if (--uses[static_cast<size_t>(input)] == 0) order.push_back(input);
    }
  }
  return order;
}

}  // namespace exercise::engine
