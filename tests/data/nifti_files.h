// Builds NIfTI files, sound or damaged, byte by byte, for the tests of reading.
#pragma once

#include <gtest/gtest.h>
#include <nifti2_io.h>
#include <zlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "data/nifti_io.h"
#include "support/temporary_folder.h"

namespace vg::data::test {

/// A sound header: int16, 3D, sform with spacing 1, 2, 3 mm.
inline nifti_1_header sound_header(std::vector<int> extents = {5, 4, 3}) {
  nifti_1_header h{};
  h.sizeof_hdr = 348;
  std::memcpy(h.magic, "n+1\0", 4);
  h.dim[0] = static_cast<int16_t>(extents.size());
  for (size_t i = 0; i < 7; ++i)
    h.dim[i + 1] = i < extents.size() ? static_cast<int16_t>(extents[i]) : int16_t{1};
  h.datatype = DT_INT16;
  h.bitpix = 16;
  h.vox_offset = 352;
  h.scl_slope = 1;
  h.sform_code = 1;
  for (int i = 0; i < 4; ++i) h.pixdim[i] = static_cast<float>(i == 0 ? 1 : i);
  h.srow_x[0] = 1;
  h.srow_y[1] = 2;
  h.srow_z[2] = 3;
  h.xyzt_units = NIFTI_UNITS_MM;
  return h;
}

inline nifti_2_header sound_header2() {
  nifti_2_header h{};
  h.sizeof_hdr = 540;
  std::memcpy(h.magic, "n+2\0\r\n\032\n", 8);
  const int64_t dim[8] = {3, 5, 4, 3, 1, 1, 1, 1};
  std::memcpy(h.dim, dim, sizeof(dim));
  h.datatype = DT_INT16;
  h.bitpix = 16;
  h.vox_offset = 544;
  h.scl_slope = 1;
  h.sform_code = 1;
  for (int i = 0; i < 4; ++i) h.pixdim[i] = i == 0 ? 1 : i;
  h.srow_x[0] = 1;
  h.srow_y[1] = 2;
  h.srow_z[2] = 3;
  return h;
}

template <class T>
std::string bytes_of(const T& object) {
  return {reinterpret_cast<const char*>(&object), sizeof(object)};
}
template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// 0, 1, 2, ... as int16.
inline std::string voxels(int count = 60) {
  std::vector<int16_t> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<int16_t>(i));
  return bytes_of(values);
}

/// A whole file: header, the flag of no extension, voxels.
template <class Header>
std::string file_bytes(const Header& header, const std::string& data = voxels()) {
  return bytes_of(header) + std::string(4, '\0') + data;
}

inline std::string gzip(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

class NiftiFiles : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }
  /// The file's warnings so far, joined.
  Warn warn() {
    return [this](const std::string& text) { warnings_ += text + "\n"; };
  }
  /// `text` is one line that names the file and holds all `parts`.
  static void expect_one_line(const std::string& text, const std::filesystem::path& file,
                              const std::vector<std::string>& parts) {
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    EXPECT_EQ(text.rfind(file.string() + ": ", 0), 0u) << text;
    for (const std::string& part : parts)
      EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
  }
  /// Reading fails with a DataError that says what was found, what was expected and how to mend it.
  static void expect_error(const std::filesystem::path& file, std::vector<std::string> parts) {
    parts.insert(parts.end(), {"found", "expected", "; "});
    try {
      read_image(file);
      ADD_FAILURE() << "no error for " << file;
    } catch (const DataError& error) {
      expect_one_line(error.what(), file, parts);
    }
  }
  /// Reading succeeds with the voxels 0, 1, 2, ... and one warning that holds all `parts` (none: no warning).
  void expect_read(const std::filesystem::path& file, const std::vector<std::string>& parts = {}) {
    warnings_.clear();
    const Image image = read_image(file, warn());
    ASSERT_EQ(image.voxels.size(), 60u);
    for (size_t i = 0; i < image.voxels.size(); ++i) ASSERT_EQ(image.voxels[i], static_cast<float>(i));
    if (parts.empty()) {
      EXPECT_EQ(warnings_, "");
    } else {
      ASSERT_FALSE(warnings_.empty()) << "no warning";
      expect_one_line(warnings_.substr(0, warnings_.size() - 1), file, parts);
    }
  }

  vg::test::TemporaryFolder folder_;
  std::string warnings_;
};

}  // namespace vg::data::test
