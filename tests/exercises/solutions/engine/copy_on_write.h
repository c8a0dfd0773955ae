#pragma once

#include <memory>

namespace exercise::engine {

template <class Array>
void pass(std::shared_ptr<Array>& so_far, const std::shared_ptr<Array>& gradient) {
  if (so_far == nullptr) {
    so_far = gradient;
    return;
  }
  if (so_far.use_count() > 1) so_far = std::make_shared<Array>(*so_far);
  *so_far += *gradient;
}

}  // namespace exercise::engine
