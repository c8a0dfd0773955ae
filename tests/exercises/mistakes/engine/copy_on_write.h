// Adds in place, whoever else holds it.
#pragma once

#include <memory>

namespace exercise::engine {

template <class Array>
void pass(std::shared_ptr<Array>& so_far, const std::shared_ptr<Array>& gradient) {
  if (so_far == nullptr) {
    so_far = gradient;
  } else {
    *so_far += *gradient;
  }
}

}  // namespace exercise::engine
