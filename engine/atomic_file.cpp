#include "engine/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace vg {

AtomicFile::AtomicFile(std::filesystem::path destination)
    : destination_(std::move(destination)),
      temporary_(destination_.string() + ".tmp-" + std::to_string(getpid())) {
  file_.reset(std::fopen(temporary_.c_str(), "wb"));
  if (file_ == nullptr) fail("be created");
}

AtomicFile::~AtomicFile() {
  file_.reset();
  std::error_code ignored;
  if (!committed_) std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::fail(const char* action) const {
  throw std::runtime_error(destination_.string() + ": cannot " + action + ": " + std::strerror(errno) +
                           "; check the folder's permissions and free space");
}

void AtomicFile::write(const void* data, size_t bytes) {
  if (bytes > 0 && std::fwrite(data, 1, bytes, file_.get()) != bytes) fail("be written");
}

void AtomicFile::commit() {
  if (std::fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0) fail("be written");
  if (std::fclose(file_.release()) != 0) fail("be written");
  if (std::rename(temporary_.c_str(), destination_.c_str()) != 0) fail("be renamed into place");
  committed_ = true;
  // The rename itself lasts only once the folder is on the disk. Not every file system allows this; the file
  // is whole either way.
  const std::filesystem::path folder = destination_.has_parent_path() ? destination_.parent_path() : ".";
  if (const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY); descriptor >= 0) {
    (void)fsync(descriptor);
    close(descriptor);
  }
}

void write_file_atomically(const std::filesystem::path& destination, const std::string& text) {
  AtomicFile file(destination);
  file.write(text);
  file.commit();
}

}  // namespace vg
