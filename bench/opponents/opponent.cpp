#include "bench/opponents/opponent.h"

#include <stdexcept>

#include "bench/opponents/conv_opponent.h"

namespace vg::bench {

void require_opponent(const std::string& name) {
  throw std::runtime_error("built without " + name);
}

std::string opponent_version(const std::string& name) {
  require_opponent(name);
  return "";
}

std::vector<std::unique_ptr<ConvOpponent>> make_conv_opponents(const std::string&, const ConvTask&,
                                                               std::string&) {
  return {};
}

}  // namespace vg::bench
