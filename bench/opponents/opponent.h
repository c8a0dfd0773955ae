// The libraries that voxgrad races against. Only the files of this folder know their interfaces.
#pragma once

#include <string>
#include <vector>

namespace vg::bench {

/// A library's plan for one piece of work, with operands of its own.
class Opponent {
 public:
  virtual ~Opponent() = default;
  /// Library and layout or algorithm, as "oneDNN ndhwc".
  virtual std::string name() const = 0;
  /// On operands of that set.
  virtual void run(int set) = 0;
  /// What run(0) gave: a dense channels-last volume, or weights in the task's order.
  virtual std::vector<float> result() = 0;
};

/// Throws std::runtime_error, naming the package to install, if voxgrad-bench was built without the opponent:
/// cudnn, cublas or onednn.
void require_opponent(const std::string& name);

/// Of the library that runs, as "2.6.3". Throws like require_opponent().
std::string opponent_version(const std::string& name);

/// What a row says whose operation the opponent is not raced at (it has no equal one, or nobody has written
/// the race).
std::string no_race(const std::string& opponent);

}  // namespace vg::bench
