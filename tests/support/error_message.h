// What an error says.
#pragma once

#include <stdexcept>
#include <string>

namespace vg::test {

/// What() of the std::invalid_argument that `f` throws.
template <class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "nothing thrown";
}

}  // namespace vg::test
