// Reading a plain or gzip-compressed file from front to back, with errors that say what is missing.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "data/error.h"

struct z_stream_s;  // zlib's state

namespace vg::data {

/// All parts put together as text.
template <class... Parts>
std::string join_text(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

/// Throws DataError "<file>: <field>: found <found>, expected <expected>; <mend>".
[[noreturn]] void throw_bad_file(const std::filesystem::path& file, const std::string& field,
                                 const std::string& found, const std::string& expected,
                                 const std::string& mend);

/// Bytes of a file, decompressed where its first two bytes are gzip's magic, whatever the name says. Memory
/// does not grow with what a damaged or hostile file claims: only as much is decompressed as is asked for.
class ByteSource {
 public:
  /// Throws DataError if `file` is missing, a dangling link, a folder, not a regular file, empty or
  /// unreadable.
  explicit ByteSource(const std::filesystem::path& file);
  ~ByteSource();

  bool compressed() const { return inflate_ != nullptr; }
  uint64_t file_bytes() const { return file_bytes_; }
  /// The most bytes that this source can hold: deflate shrinks at most 1032 to 1.
  uint64_t most_bytes() const { return compressed() ? 1032 * file_bytes_ + 1032 : file_bytes_; }
  uint64_t position() const { return position_; }
  /// How many bytes the header asks for in all; errors then name this number.
  void set_needed(uint64_t bytes) { needed_ = bytes; }

  /// Up to `bytes`; fewer only at the end of the file. Throws DataError for a damaged gzip stream.
  size_t read_some(void* destination, size_t bytes);
  /// All of `bytes`, or throws DataError with the bytes got and needed, naming `field`.
  void read(void* destination, size_t bytes, const char* field);
  void skip(uint64_t bytes, const char* field);

  /// Call after the last byte wanted: checks gzip's checksum (DataError if it does not match or is cut off)
  /// and warns of what follows, which is not read.
  void finish(const Warn& warn);

 private:
  struct CloseFile {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  bool refill();  // false at the end of the file
  bool next_gzip_member();
  size_t inflate_some(void* destination, size_t bytes);
  [[noreturn]] void fail_inflate(uint64_t got, uint64_t wanted) const;
  void finish_gzip(const Warn& warn);

  std::filesystem::path file_;
  std::unique_ptr<std::FILE, CloseFile> stream_;
  uint64_t file_bytes_ = 0, position_ = 0, needed_ = 0;
  std::vector<unsigned char> input_;
  std::unique_ptr<z_stream_s, void (*)(z_stream_s*)> inflate_;
  bool member_ended_ = false;
};

}  // namespace vg::data
