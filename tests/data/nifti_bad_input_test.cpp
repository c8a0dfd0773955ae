// Damaged, odd and hostile NIfTI files: what is read with a warning, and what is refused with which words.
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <limits>

#include "data/nifti_files.h"

namespace vg::data {
namespace {

using namespace test;
namespace fs = std::filesystem;

class NiftiBadInput : public NiftiFiles {};

// ---- Compression. ----

TEST_F(NiftiBadInput, truncated_gzip_names_bytes_got_and_needed) {
  std::vector<int16_t> noise(60 * 60 * 60);
  uint32_t state = 1;
  for (int16_t& v : noise) v = static_cast<int16_t>((state = state * 1664525u + 1013904223u) >> 16);
  const std::string bytes = gzip(file_bytes(sound_header({60, 60, 60}), bytes_of(noise)));
  expect_error(write("a.nii.gz", bytes.substr(0, bytes.size() / 2)),
               {"voxel data", "truncated", " bytes", "at least 432352 bytes"});
  expect_error(write("b.nii.gz", bytes.substr(0, 100)), {"truncated"});
  expect_error(write("c.nii.gz", bytes.substr(0, bytes.size() - 5)),
               {"gzip checksum", "truncated", "432352"});
}

TEST_F(NiftiBadInput, damaged_gzip) {
  const std::string sound = gzip(file_bytes(sound_header()));
  std::string bytes = sound;
  bytes[bytes.size() - 6] ^= 1;  // in the CRC
  expect_error(write("crc.nii.gz", bytes),
               {"gzip checksum", "472 decompressed bytes", "incorrect data check"});
  bytes = sound;
  bytes[bytes.size() - 2] ^= 1;  // in the length
  expect_error(write("length.nii.gz", bytes), {"gzip checksum", "incorrect length check"});
  bytes = sound;
  for (size_t i = 40; i < bytes.size() - 8; ++i) bytes[i] ^= 0x55;
  expect_error(write("middle.nii.gz", bytes), {"gzip data", "damage after"});
}

TEST_F(NiftiBadInput, more_compressed_data_than_declared_is_not_read) {
  const std::string bomb = gzip(file_bytes(sound_header()) + std::string(size_t{16} << 20, '\0'));
  expect_read(write("bomb.nii.gz", bomb), {"gzip data", "more than the 472 bytes"});
  expect_read(write("junk.nii.gz", gzip(file_bytes(sound_header())) + "junk"),
              {"after the end of the compressed data"});
  expect_read(write("padded.nii.gz", gzip(file_bytes(sound_header())) + std::string(100, '\0')));
}

TEST_F(NiftiBadInput, compression_is_known_by_its_magic) {
  const std::string bytes = file_bytes(sound_header());
  expect_read(write("plain.nii.gz", bytes));
  expect_read(write("compressed.nii", gzip(bytes)));
  expect_read(write("two_streams.nii.gz", gzip(bytes.substr(0, 400)) + gzip(bytes.substr(400))));
}

// ---- Files that are no NIfTI. ----

TEST_F(NiftiBadInput, truncated_file) {
  const std::string bytes = file_bytes(sound_header());
  expect_error(write("a.nii", bytes.substr(0, 471)),
               {"dim and vox_offset", "471 bytes", "truncated", "472 bytes"});
  expect_error(write("b.nii", bytes.substr(0, 200)), {"header", "200 bytes", "348 bytes"});
  expect_error(write("c.nii", bytes.substr(0, 350)), {"vox_offset", "350 bytes", "truncated"});
}

TEST_F(NiftiBadInput, not_a_file) {
  expect_error(write("empty.nii", ""), {"an empty file"});
  expect_error(folder_.path(), {"a folder"});
  expect_error(folder_ / "missing.nii", {"nothing", "check the path"});
  fs::create_symlink("nowhere.nii", folder_ / "link.nii");
  expect_error(folder_ / "link.nii", {"dangling link to nowhere.nii"});
  expect_error("/dev/null", {"a device"});
}

TEST_F(NiftiBadInput, not_nifti) {
  expect_error(write("a.nii.gz", "<!DOCTYPE html><html>Sign in</html>"), {"not NIfTI", "HTML", "download"});
  expect_error(write("b.nii", "\n <html></html>"), {"not NIfTI", "HTML"});
  expect_error(write("c.nii.gz", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
               {"not NIfTI", "git-LFS pointer", "git lfs pull"});
  expect_error(write("d.nii", std::string(1000, 'x')), {"not NIfTI", "the bytes 78 78 78 78"});
  expect_error(write("e.nii", std::string(128, '\0') + "DICM" + std::string(300, '\0')),
               {"not NIfTI", "DICOM"});
  expect_error(write("f.nii", "ab"), {"not NIfTI", "the bytes 61 62"});
  expect_error(write("g.nii.gz", gzip("hello")), {"not NIfTI"});
}

TEST_F(NiftiBadInput, pairs_and_analyze_are_named) {
  nifti_1_header header = sound_header();
  std::memcpy(header.magic, "ni1\0", 4);
  expect_error(write("a.hdr", file_bytes(header)), {"magic", ".hdr/.img pair", "unsupported"});
  std::memset(header.magic, 0, 4);
  expect_error(write("b.hdr", file_bytes(header)), {"magic", "ANALYZE", "unsupported"});
  nifti_2_header second = sound_header2();
  std::memcpy(second.magic, "ni2\0", 4);
  expect_error(write("c.hdr", file_bytes(second)), {"magic", "pair", "unsupported"});
  second = sound_header2();
  std::memcpy(second.magic + 4, "\n\032\n\0", 4);
  expect_error(write("d.nii", file_bytes(second)), {"magic", "copied as text"});
}

// ---- Extents. ----

TEST_F(NiftiBadInput, extents) {
  for (const int axes : {0, 8, -1, 30000}) {
    nifti_1_header header = sound_header();
    header.dim[0] = static_cast<int16_t>(axes);
    expect_error(write("axes.nii", file_bytes(header)),
                 {"dim[0]", "found " + std::to_string(axes), "1 to 7"});
  }
  for (const int extent : {0, -5}) {
    nifti_1_header header = sound_header();
    header.dim[2] = static_cast<int16_t>(extent);
    expect_error(write("extent.nii", file_bytes(header)),
                 {"dim[2]", "found " + std::to_string(extent), "at least 1"});
  }
}

TEST_F(NiftiBadInput, product_of_extents_overflows) {
  const std::vector<int> huge(7, 32767);
  expect_error(write("a.nii", file_bytes(sound_header(huge))), {"dim", "64 bits"});
  nifti_2_header header = sound_header2();
  for (int i = 1; i <= 3; ++i) header.dim[i] = int64_t{1} << 20;  // 2^60 voxels: the bytes fit as well
  header.dim[3] *= 4;  // 2^62 voxels: the bytes do not fit in 63 bits
  expect_error(write("b.nii", file_bytes(header)), {"dim"});
  header.dim[3] *= 4;
  expect_error(write("c.nii", file_bytes(header)), {"dim", "64 bits"});
}

TEST_F(NiftiBadInput, larger_than_the_file_is_refused_before_allocation) {
  const nifti_1_header header = sound_header({32767, 32767, 32767});
  expect_error(write("a.nii", file_bytes(header)), {"dim and vox_offset", "472 bytes", "70362", "truncated"});
  expect_error(write("a.nii.gz", gzip(file_bytes(header))), {"compressed file", "at most", "70362"});
}

TEST_F(NiftiBadInput, larger_than_memory_is_refused_before_allocation) {
  const fs::path file =
      write("sparse.nii", bytes_of(sound_header({8192, 8192, 8192})) + std::string(4, '\0'));
  std::error_code error;
  fs::resize_file(file, 352 + (uint64_t{1} << 40), error);  // no block of it is on the disk
  if (error) return;                                        // a file system with a lower limit
  expect_error(file, {"dim", "MiB of memory", "which need 2097152 MiB"});
  EXPECT_EQ(read_nifti_info(file).extents, (std::vector<int64_t>{8192, 8192, 8192}));
}

// ---- Offset and extensions. ----

TEST_F(NiftiBadInput, vox_offset) {
  for (const float offset : {0.f, 100.f, -16.f, NAN, -INFINITY}) {
    nifti_1_header header = sound_header();
    header.vox_offset = offset;
    expect_read(write("small.nii", file_bytes(header)),
                {"vox_offset", "expected at least 352", "taken as 352"});
  }
  nifti_1_header header = sound_header();
  header.vox_offset = 352.75f;
  expect_read(write("fraction.nii", file_bytes(header)), {"vox_offset", "found 352.75", "rounded down"});
  for (const float offset : {1e9f, INFINITY, 1e30f}) {
    header.vox_offset = offset;
    expect_error(write("large.nii", file_bytes(header)), {"vox_offset", "file of 472 bytes"});
    expect_error(write("large.nii.gz", gzip(file_bytes(header))), {"vox_offset"});
  }
  header.vox_offset = 368;
  expect_error(write("shifted.nii", file_bytes(header)), {"dim and vox_offset", "472 bytes", "488 bytes"});
  nifti_2_header second = sound_header2();
  second.vox_offset = -1;
  expect_read(write("second.nii", file_bytes(second)), {"vox_offset", "taken as 544"});
  second.vox_offset = std::numeric_limits<int64_t>::max();
  expect_error(write("second.nii", file_bytes(second)), {"vox_offset"});
}

TEST_F(NiftiBadInput, extensions) {
  const auto with_extension = [](int32_t size, int offset, const std::string& body) {
    nifti_1_header header = sound_header();
    header.vox_offset = static_cast<float>(offset);
    const int32_t code = 6;
    std::string bytes =
        bytes_of(header) + std::string("\1\0\0\0", 4) + bytes_of(size) + bytes_of(code) + body;
    bytes.resize(static_cast<size_t>(offset), '\0');
    return bytes + voxels();
  };
  expect_read(write("sound.nii", with_extension(32, 384, "a comment")));
  expect_read(write("sound.nii.gz", gzip(with_extension(32, 384, "a comment"))));
  for (const int32_t size : {-16, 7, 64, std::numeric_limits<int32_t>::max()}) {
    expect_read(write("bad.nii", with_extension(size, 384, "a comment")),
                {"extension size", "found " + std::to_string(size), "expected 8 to 32", "skipped"});
  }
  expect_read(write("zero.nii", with_extension(0, 384, "")));
  std::string flag_only = file_bytes(sound_header());
  flag_only[348] = 1;
  expect_read(write("flag.nii", flag_only), {"extension flag", "voxels follow at once"});
}

// ---- Types and scaling. ----

TEST_F(NiftiBadInput, datatypes_that_are_not_one_real_value) {
  const std::pair<int, const char*> types[] = {
      {DT_COMPLEX64, "COMPLEX64"}, {DT_COMPLEX128, "COMPLEX128"}, {DT_RGB24, "RGB24"}, {DT_RGBA32, "RGBA32"},
      {DT_FLOAT128, "FLOAT128"},   {DT_BINARY, "BINARY"},         {0, "NONE"},         {12345, "12345"}};
  for (const auto& [type, name] : types) {
    nifti_1_header header = sound_header();
    header.datatype = static_cast<int16_t>(type);
    expect_error(write("type.nii", file_bytes(header)), {"datatype", std::to_string(type), name});
  }
}

TEST_F(NiftiBadInput, bitpix_that_does_not_fit_the_datatype) {
  nifti_1_header header = sound_header();
  header.bitpix = 32;
  expect_read(write("a.nii", file_bytes(header)),
              {"bitpix", "found 32", "expected 16", "datatype is trusted"});
}

TEST_F(NiftiBadInput, slopes_that_mean_no_scaling) {
  for (const float slope : {0.f, NAN, INFINITY}) {
    nifti_1_header header = sound_header();
    header.scl_slope = slope;
    header.scl_inter = 7;
    expect_read(write("a.nii", file_bytes(header)));
  }
  nifti_1_header header = sound_header();
  header.scl_inter = NAN;
  expect_read(write("b.nii", file_bytes(header)), {"scl_inter", "taken as 0"});
}

// ---- Labels. ----

class NiftiBadLabels : public NiftiBadInput {
 protected:
  fs::path write_floats(const std::string& name, std::vector<float> values) {
    nifti_1_header header = sound_header({static_cast<int>(values.size()), 1, 1});
    header.datatype = DT_FLOAT;
    header.bitpix = 32;
    return write(name, file_bytes(header, bytes_of(values)));
  }
  static void expect_label_error(const fs::path& file, const std::vector<std::string>& parts) {
    try {
      read_label_map(file);
      ADD_FAILURE() << "no error";
    } catch (const DataError& error) {
      expect_one_line(error.what(), file, parts);
    }
  }
};

TEST_F(NiftiBadLabels, whole_numbers_within_a_thousandth_are_labels) {
  const LabelMap labels = read_label_map(write_floats("a.nii", {0, 1.0005f, 1.9995f, 4, 255, -0.0005f}));
  EXPECT_EQ(labels.voxels, (std::vector<uint8_t>{0, 1, 2, 4, 255, 0}));
}

TEST_F(NiftiBadLabels, others_are_listed_with_counts) {
  expect_label_error(write_floats("a.nii", {0, 0.5f, 0.5f, -1, 256, NAN, INFINITY, 1.002f}),
                     {"labels", "NaN (1 voxels)", "-1 (1 voxels)", "0.5 (2 voxels)", "256 (1 voxels)",
                      "inf (1 voxels)", "1.002 (1 voxels)", "whole numbers from 0 to 255"});
  std::vector<float> many;
  for (int i = 0; i < 100; ++i) many.push_back(static_cast<float>(i) + 0.5f);
  expect_label_error(write_floats("b.nii", many), {"0.5 (1 voxels)", "and others (92 voxels)"});
}

TEST_F(NiftiBadLabels, scaling_is_applied_first) {
  nifti_1_header header = sound_header({3, 1, 1});
  header.scl_slope = 0.5f;
  header.scl_inter = 1;
  const fs::path file = write("a.nii", file_bytes(header, bytes_of(std::vector<int16_t>{0, 2, 6})));
  EXPECT_EQ(read_label_map(file).voxels, (std::vector<uint8_t>{1, 2, 4}));
  expect_label_error(write("b.nii", file_bytes(header, bytes_of(std::vector<int16_t>{0, 1, 6}))),
                     {"1.5 (1 voxels)"});
}

// ---- Geometry. ----

TEST_F(NiftiBadInput, pixdim_that_is_no_length) {
  for (const float found : {0.f, NAN, INFINITY, -2.f}) {
    nifti_1_header header = sound_header();
    header.pixdim[2] = found;
    expect_read(write("sform.nii", file_bytes(header)), {"pixdim[2]", "above 0", "sform is used"});
    header.sform_code = 0;
    header.qform_code = 1;
    const std::string instead = found == -2.f ? "taken as 2 mm" : "taken as 1 mm";
    expect_read(write("qform.nii", file_bytes(header)), {"pixdim[2]", "above 0", instead});
  }
}

TEST_F(NiftiBadInput, no_transform) {
  nifti_1_header header = sound_header();
  header.sform_code = 0;
  const fs::path file = write("a.nii", file_bytes(header));
  expect_read(file, {"sform_code and qform_code", "pixel sizes"});
  // nibabel's base affine: x to the left, origin at the centre.
  const Affine expected{{{-1, 0, 0, 2}, {0, 2, 0, -3}, {0, 0, 3, -3}}};
  EXPECT_EQ(read_image(file).geometry.affine, expected);
  EXPECT_EQ(read_nifti_info(file).transform_source, "pixdim");
}

TEST_F(NiftiBadInput, transforms_in_conflict) {
  nifti_1_header header = sound_header();
  header.qform_code = 1;
  expect_read(write("same.nii", file_bytes(header)));
  header.qoffset_y = 5;
  const fs::path file = write("a.nii", file_bytes(header));
  expect_read(file, {"sform and qform", "5 mm apart", "sform is used"});
  EXPECT_EQ(read_image(file).geometry.affine[1][3], 0);
}

TEST_F(NiftiBadInput, singular_affine) {
  for (const float value : {0.f, NAN, INFINITY}) {
    nifti_1_header header = sound_header();
    header.srow_y[1] = value;
    expect_error(write("a.nii", file_bytes(header)), {"sform", "singular", "can be inverted"});
  }
  nifti_1_header header = sound_header();
  header.sform_code = 0;
  header.qform_code = 1;
  header.quatern_b = NAN;
  expect_error(write("b.nii", file_bytes(header)), {"qform", "not finite"});
}

TEST_F(NiftiBadInput, oblique_and_sheared_axes) {
  nifti_1_header header = sound_header();
  header.srow_x[1] = 0.4f;
  expect_read(write("sheared.nii", file_bytes(header)), {"sheared by 11.3"});
  header.srow_y[0] = -0.2f;
  expect_read(write("oblique.nii", file_bytes(header)), {"oblique by 11.3"});
}

TEST_F(NiftiBadInput, units) {
  nifti_1_header header = sound_header();
  header.xyzt_units = NIFTI_UNITS_MICRON;
  expect_read(write("a.nii", file_bytes(header)), {"xyzt_units", "expected mm"});
}

// ---- Layouts. ----

TEST_F(NiftiBadInput, number_of_axes) {
  expect_read(write("four.nii", file_bytes(sound_header({5, 4, 3, 1}))));
  expect_read(write("seven.nii", file_bytes(sound_header({5, 4, 3, 1, 1, 1, 1}))));
  expect_error(write("a.nii", file_bytes(sound_header({5, 4, 1, 3}))),
               {"dim", "4D 5x4x1x3", "a 3D volume", "split it"});
  expect_error(write("b.nii", file_bytes(sound_header({10, 6}))), {"dim", "2D 10x6", "a 3D volume"});
  EXPECT_THROW(read_nifti_template(folder_ / "a.nii"), DataError);
  const fs::path file = write("c.nii", file_bytes(sound_header()));
  try {
    read_image_series(file);
    ADD_FAILURE() << "no error";
  } catch (const DataError& error) {
    expect_one_line(error.what(), file, {"dim", "found 3D 5x4x3", "a 4D file", "one file a modality"});
  }
}

TEST_F(NiftiBadInput, bytes_after_the_voxels) {
  expect_read(write("a.nii", file_bytes(sound_header()) + "junk"), {"4 bytes after the voxel data"});
}

/// Whatever bytes of a header are damaged, the file is read or refused with a DataError; nothing else
/// happens.
TEST_F(NiftiBadInput, random_damage) {
  uint32_t state = 7;
  const auto next = [&](uint32_t below) { return (state = state * 1664525u + 1013904223u) / 65536 % below; };
  const std::string first = file_bytes(sound_header()), second = file_bytes(sound_header2());
  int refused = 0;
  for (int trial = 0; trial < 1500; ++trial) {
    std::string bytes = trial % 2 == 0 ? first : second;
    for (uint32_t damage = 1 + next(4); damage > 0; --damage)
      bytes[next(static_cast<uint32_t>(bytes.size()))] = static_cast<char>(next(256));
    if (trial % 3 == 0) bytes = gzip(bytes);
    if (trial % 5 == 0) bytes[next(static_cast<uint32_t>(bytes.size()))] ^= static_cast<char>(1 << next(8));
    const fs::path file = write("a.nii", bytes);
    try {
      read_label_map(file, warn());
    } catch (const DataError& error) {
      ++refused;
      expect_one_line(error.what(), file, {"found", "expected", "; "});
    }
  }
  EXPECT_GT(refused, 100);
  EXPECT_LT(refused, 1400);
}

// ---- Writing. ----

TEST_F(NiftiBadInput, a_failed_write_leaves_nothing_behind_and_the_old_file_as_it_was) {
  const fs::path file = write("old.nii", file_bytes(sound_header()));
  const Image large{{{100, 100, 100}, Geometry{}.affine}, std::vector<float>(1000000)};
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{100000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);  // a disk with 100 kB left
  std::string message;
  try {
    write_image(file, large);
  } catch (const DataError& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  expect_one_line(message, file, {"cannot be written", "File too large"});
  expect_read(file);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()), 1);
}

TEST_F(NiftiBadInput, destinations_that_cannot_be_written) {
  const Image image{{{1, 1, 1}, Geometry{}.affine}, {1.f}};
  EXPECT_THROW(write_image(folder_ / "missing/a.nii", image), DataError);
  EXPECT_THROW(write_image(folder_ / "a.mha", image), DataError);
  fs::create_directory(folder_ / "b.nii");
  EXPECT_THROW(write_image(folder_ / "b.nii", image), DataError);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()), 1);
}

TEST_F(NiftiBadInput, volumes_that_cannot_be_written) {
  Image image{{{2, 1, 1}, Geometry{}.affine}, {1.f, 40000.f}};
  EXPECT_THROW(write_image(folder_ / "a.nii", image, VoxelType::int16), DataError);
  EXPECT_THROW(write_image(folder_ / "a.nii", image, VoxelType::uint8), DataError);
  image.voxels[1] = NAN;
  EXPECT_THROW(write_image(folder_ / "a.nii", image, VoxelType::int16), DataError);
  EXPECT_NO_THROW(write_image(folder_ / "nan.nii", image));
  image.voxels.pop_back();
  EXPECT_THROW(write_image(folder_ / "a.nii", image), std::invalid_argument);
  image.geometry = {{1, 1, 1}, Affine{}};
  EXPECT_THROW(write_image(folder_ / "a.nii", image), std::invalid_argument);
  const auto like = read_nifti_template(write("like.nii", file_bytes(sound_header())));
  EXPECT_THROW(
      write_image(folder_ / "a.nii", {{{1, 1, 1}, Geometry{}.affine}, {1.f}}, VoxelType::float32, like),
      std::invalid_argument);
  EXPECT_FALSE(fs::exists(folder_ / "a.nii"));
}

}  // namespace
}  // namespace vg::data
