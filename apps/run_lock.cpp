#include "apps/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace vg::apps {

RunLock::RunLock(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / ".lock";
  descriptor_ = open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    throw std::runtime_error(folder.string() + ": cannot be written: " + std::strerror(errno) +
                             "; choose another --output or mend its permissions");
  }
  if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    close(descriptor_);
    throw std::runtime_error(folder.string() +
                             ": another training run is using this folder; choose another --output");
  }
}

RunLock::~RunLock() {
  close(descriptor_);
}

}  // namespace vg::apps
