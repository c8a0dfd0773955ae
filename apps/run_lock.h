// Two runs must not share a folder.
#pragma once

#include <filesystem>

namespace vg::apps {

/// Holds a lock on a run folder. The system drops it when the process ends, however it ends.
class RunLock {
 public:
  /// Throws std::runtime_error if another process holds the lock, or the folder cannot be written.
  explicit RunLock(const std::filesystem::path& folder);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace vg::apps
