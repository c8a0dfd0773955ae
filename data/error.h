// How the data layer reports bad input: one line each, thrown or handed to the caller's sink of warnings.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>

namespace vg::data {

/// Bad input. what() is one line: file, field, found, expected, how to mend it.
class DataError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Receives warnings about input that is usable but odd (one line each). An empty function drops them.
using Warn = std::function<void(const std::string&)>;

}  // namespace vg::data
