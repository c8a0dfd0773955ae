#include "data/byte_source.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vg::data {
namespace {

constexpr size_t input_bytes = size_t{1} << 18;
constexpr const char* copy_again = "copy or download the file again";

void end_inflate(z_stream* stream) {
  inflateEnd(stream);
  delete stream;
}

/// Size of a regular file; what is wrong with anything else.
uint64_t checked_file_size(const std::filesystem::path& file) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (status.type() == fs::file_type::not_found) {
    if (fs::is_symlink(fs::symlink_status(file, error)))
      throw_bad_file(file, "file", "a dangling link to " + fs::read_symlink(file, error).string(),
                     "an existing file", "restore the file that the link points to");
    throw_bad_file(file, "file", "nothing", "an existing file", "check the path");
  }
  if (status.type() == fs::file_type::directory)
    throw_bad_file(file, "file", "a folder", "a NIfTI file", "name a file in the folder");
  if (status.type() != fs::file_type::regular)
    throw_bad_file(file, "file", error ? error.message() : "a device, pipe or socket", "a regular file",
                   "copy the data to a file first");
  const uint64_t bytes = fs::file_size(file, error);
  if (error) throw_bad_file(file, "file", error.message(), "a readable file", "check the permissions");
  if (bytes == 0) throw_bad_file(file, "file", "an empty file (0 bytes)", "a NIfTI file", copy_again);
  return bytes;
}

}  // namespace

void throw_bad_file(const std::filesystem::path& file, const std::string& field, const std::string& found,
                    const std::string& expected, const std::string& mend) {
  throw DataError(
      join_text(file.string(), ": ", field, ": found ", found, ", expected ", expected, "; ", mend));
}

ByteSource::ByteSource(const std::filesystem::path& file)
    : file_(file), file_bytes_(checked_file_size(file)), inflate_(nullptr, end_inflate) {
  stream_.reset(std::fopen(file.c_str(), "rb"));
  if (!stream_)
    throw_bad_file(file_, "file", std::strerror(errno), "a readable file", "check the permissions");
  unsigned char magic[2] = {0, 0};
  const size_t got = std::fread(magic, 1, 2, stream_.get());
  std::rewind(stream_.get());
  if (got < 2 || magic[0] != 0x1f || magic[1] != 0x8b) return;
  auto state = std::make_unique<z_stream>();
  if (inflateInit2(state.get(), 15 + 16) != Z_OK) throw std::bad_alloc();  // 16: a gzip wrapper is expected
  inflate_.reset(state.release());
  input_.resize(input_bytes);
}

ByteSource::~ByteSource() = default;

bool ByteSource::refill() {
  if (inflate_->avail_in > 0) return true;
  const size_t got = std::fread(input_.data(), 1, input_.size(), stream_.get());
  if (got == 0 && std::ferror(stream_.get()))
    throw_bad_file(file_, "file", std::strerror(errno), "readable data", "check the disk");
  inflate_->next_in = input_.data();
  inflate_->avail_in = static_cast<uInt>(got);
  return got > 0;
}

/// A gzip file may be several streams in a row (bgzip, cat); they count as one.
bool ByteSource::next_gzip_member() {
  if (!refill() || *inflate_->next_in != 0x1f) return false;
  if (inflate_->avail_in > 1 && inflate_->next_in[1] != 0x8b) return false;
  inflateReset(inflate_.get());
  member_ended_ = false;
  return true;
}

size_t ByteSource::inflate_some(void* destination, size_t bytes) {
  size_t done = 0;
  while (done < bytes) {
    if (member_ended_ && !next_gzip_member()) break;
    if (!refill()) break;
    const size_t wanted = std::min(bytes - done, size_t{1} << 30);  // zlib counts in 32 bits
    inflate_->next_out = static_cast<Bytef*>(destination) + done;
    inflate_->avail_out = static_cast<uInt>(wanted);
    const int status = inflate(inflate_.get(), Z_NO_FLUSH);
    done += wanted - inflate_->avail_out;
    if (status == Z_STREAM_END) {
      member_ended_ = true;
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      fail_inflate(position_ + done, position_ + bytes);
    }
  }
  return done;
}

void ByteSource::fail_inflate(uint64_t got, uint64_t wanted) const {
  const std::string reason = inflate_->msg ? inflate_->msg : "invalid stream";
  const bool checksum =
      reason.find("check") != std::string::npos;  // zlib: incorrect data check, length check
  throw_bad_file(file_, checksum ? "gzip checksum" : "gzip data",
                 join_text("damage after ", got, " decompressed bytes (", reason, ")"),
                 join_text("an intact gzip stream of ", std::max(needed_, wanted), " bytes"), copy_again);
}

size_t ByteSource::read_some(void* destination, size_t bytes) {
  size_t got;
  if (compressed()) {
    got = inflate_some(destination, bytes);
  } else {
    got = std::fread(destination, 1, bytes, stream_.get());
    if (got < bytes && std::ferror(stream_.get()))
      throw_bad_file(file_, "file", std::strerror(errno), "readable data", "check the disk");
  }
  position_ += got;
  return got;
}

void ByteSource::read(void* destination, size_t bytes, const char* field) {
  const uint64_t begin = position_;
  const size_t got = read_some(destination, bytes);
  if (got == bytes) return;
  throw_bad_file(file_, field,
                 join_text("the end of the ", compressed() ? "decompressed data" : "file", " after ",
                           begin + got, " bytes (truncated)"),
                 join_text("at least ", std::max(needed_, begin + bytes), " bytes"), copy_again);
}

void ByteSource::skip(uint64_t bytes, const char* field) {
  if (!compressed() && bytes > 0 && position_ + bytes <= file_bytes_) {
    if (::fseeko(stream_.get(), static_cast<off_t>(bytes), SEEK_CUR) == 0) {
      position_ += bytes;
      return;
    }
  }
  std::vector<char> scratch(std::min<uint64_t>(bytes, 1 << 16));
  for (uint64_t left = bytes; left > 0;) {
    const size_t part = static_cast<size_t>(std::min<uint64_t>(left, scratch.size()));
    read(scratch.data(), part, field);
    left -= part;
  }
}

void ByteSource::finish(const Warn& warn) {
  if (compressed()) {
    finish_gzip(warn);
  } else if (position_ < file_bytes_ && warn) {
    warn(join_text(file_.string(), ": file: ", file_bytes_ - position_,
                   " bytes after the voxel data are ignored"));
  }
}

void ByteSource::finish_gzip(const Warn& warn) {
  unsigned char extra;
  while (!member_ended_) {  // the trailer, which holds the checksum, is read when one more byte is asked for
    if (!refill())
      throw_bad_file(file_, "gzip checksum",
                     join_text("the end of the file after ", position_, " decompressed bytes (truncated)"),
                     "the checksum that ends a gzip file", copy_again);
    inflate_->next_out = &extra;
    inflate_->avail_out = 1;
    const int status = inflate(inflate_.get(), Z_NO_FLUSH);
    if (status == Z_STREAM_END) {
      member_ended_ = true;
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      fail_inflate(position_, position_);
    }
    if (inflate_->avail_out == 0) {
      if (warn)
        warn(join_text(file_.string(), ": gzip data: more than the ", position_,
                       " bytes that the header declares; the rest is ignored and its checksum not verified"));
      return;
    }
  }
  if (!warn) return;
  bool padding_only = true;  // zeros are padding to a block of a tape or archive
  while (refill()) {
    for (; inflate_->avail_in > 0; --inflate_->avail_in, ++inflate_->next_in)
      padding_only = padding_only && *inflate_->next_in == 0;
    if (!padding_only) {
      warn(join_text(file_.string(), ": gzip data: bytes after the end of the compressed data are ignored"));
      return;
    }
  }
}

}  // namespace vg::data
