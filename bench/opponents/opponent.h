// The libraries that voxgrad races against. Only the files of this folder know their interfaces.
#pragma once

#include <string>

namespace vg::bench {

/// Throws std::runtime_error, naming the package to install, if voxgrad-bench was built without the opponent:
/// cudnn, cublas or onednn.
void require_opponent(const std::string& name);

/// Of the library that runs, as "2.6.3". Throws like require_opponent().
std::string opponent_version(const std::string& name);

}  // namespace vg::bench
