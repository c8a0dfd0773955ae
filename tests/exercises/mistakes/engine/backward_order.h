// The order of discovery: an operation near the loss by one path and far by another comes too early.
#pragma once

#include <cstddef>
#include <vector>

namespace exercise::engine {

inline std::vector<int> backward_order(const std::vector<std::vector<int>>& inputs, int root) {
  std::vector<int> found{root};
  std::vector<bool> seen(inputs.size(), false);
  seen[static_cast<size_t>(root)] = true;
  for (size_t i = 0; i < found.size(); ++i) {
    for (const int input : inputs[static_cast<size_t>(found[i])]) {
      if (seen[static_cast<size_t>(input)]) continue;
      seen[static_cast<size_t>(input)] = true;
      found.push_back(input);
    }
  }
  return found;
}

}  // namespace exercise::engine
