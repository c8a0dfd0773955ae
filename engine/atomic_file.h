// Files that are either whole or not there: written beside their destination, flushed to the disk, then
// renamed into place.
#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace vg {

class AtomicFile {
 public:
  /// Opens "<destination>.tmp-<pid>" for writing. Throws std::runtime_error naming the destination and the
  /// system's reason.
  explicit AtomicFile(std::filesystem::path destination);
  /// Removes the temporary file unless commit() has succeeded: an earlier file of that name stays as it was.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(const std::string& text) { write(text.data(), text.size()); }
  /// Path of the temporary file, for libraries that open files themselves.
  [[nodiscard]] const std::filesystem::path& temporary() const { return temporary_; }
  /// Flushes, syncs file and folder, renames. Throws std::runtime_error (disk full shows here at the latest).
  void commit();

 private:
  [[noreturn]] void fail(const char* action) const;
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  std::filesystem::path destination_, temporary_;
  std::unique_ptr<std::FILE, Close> file_;
  bool committed_ = false;
};

/// Writes `text` to `destination` in one such step.
void write_file_atomically(const std::filesystem::path& destination, const std::string& text);

}  // namespace vg
