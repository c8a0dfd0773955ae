// Sound NIfTI files: every type, byte order and version is read, and what is written reads back.
#include "data/nifti_io.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "data/geometry.h"
#include "data/nifti_files.h"
#include "data/transforms.h"

namespace vg::data {
namespace {

using namespace test;
namespace fs = std::filesystem;

class NiftiIo : public NiftiFiles {
 protected:
  static std::string read_bytes(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  template <class Header>
  static Header header_of(const fs::path& file) {
    const std::string bytes = read_bytes(file);
    Header header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    return header;
  }
};

template <class T>
struct TypeOf;
template <>
struct TypeOf<uint8_t> : std::integral_constant<int, DT_UINT8> {};
template <>
struct TypeOf<int8_t> : std::integral_constant<int, DT_INT8> {};
template <>
struct TypeOf<int16_t> : std::integral_constant<int, DT_INT16> {};
template <>
struct TypeOf<uint16_t> : std::integral_constant<int, DT_UINT16> {};
template <>
struct TypeOf<int32_t> : std::integral_constant<int, DT_INT32> {};
template <>
struct TypeOf<uint32_t> : std::integral_constant<int, DT_UINT32> {};
template <>
struct TypeOf<int64_t> : std::integral_constant<int, DT_INT64> {};
template <>
struct TypeOf<uint64_t> : std::integral_constant<int, DT_UINT64> {};
template <>
struct TypeOf<float> : std::integral_constant<int, DT_FLOAT> {};
template <>
struct TypeOf<double> : std::integral_constant<int, DT_DOUBLE> {};

template <class T>
class NiftiTypes : public NiftiIo {};
using AllTypes =
    testing::Types<uint8_t, int8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t, float, double>;
TYPED_TEST_SUITE(NiftiTypes, AllTypes);

TYPED_TEST(NiftiTypes, both_byte_orders_both_versions_with_scaling) {
  using T = TypeParam;
  std::vector<T> values(60);
  std::iota(values.begin(), values.end(), T{0});
  values[0] = std::numeric_limits<T>::lowest();
  values[1] = std::numeric_limits<T>::max();
  std::vector<T> swapped = values;
  if constexpr (sizeof(T) > 1) nifti_swap_Nbytes(60, sizeof(T), swapped.data());
  const auto check = [&](auto header) {
    header.datatype = static_cast<int16_t>(TypeOf<T>::value);
    header.bitpix = 8 * sizeof(T);
    for (const double slope : {1.0, 0.25}) {
      header.scl_slope = static_cast<float>(slope);
      header.scl_inter = slope == 1 ? 0 : -3;
      auto swapped_header = header;
      if constexpr (sizeof(header) == 348)
        nifti_swap_as_nifti1(&swapped_header);
      else
        nifti_swap_as_nifti2(&swapped_header);
      const fs::path native = this->write("native.nii", file_bytes(header, bytes_of(values)));
      const fs::path other =
          this->write("swapped.nii.gz", gzip(file_bytes(swapped_header, bytes_of(swapped))));
      for (const fs::path& file : {native, other}) {
        const NiftiInfo info = read_nifti_info(file);
        EXPECT_EQ(info.version, sizeof(header) == 348 ? 1 : 2);
        EXPECT_EQ(info.byte_swapped, file == other);
        EXPECT_EQ(info.compressed, file == other);
        EXPECT_EQ(info.bits_per_voxel, static_cast<int>(8 * sizeof(T)));
        EXPECT_EQ(info.slope, slope);
        this->warnings_.clear();
        const Image image = read_image(file, this->warn());
        EXPECT_EQ(this->warnings_, "");
        EXPECT_EQ(image.geometry.extent, (std::array<int64_t, 3>{5, 4, 3}));
        EXPECT_EQ(image.geometry.affine, (Affine{{{1, 0, 0, 0}, {0, 2, 0, 0}, {0, 0, 3, 0}}}));
        for (size_t i = 0; i < 60; ++i)
          ASSERT_EQ(image.voxels[i],
                    static_cast<float>(static_cast<double>(values[i]) * slope + (slope == 1 ? 0 : -3)));
      }
    }
  };
  check(sound_header());
  check(sound_header2());
}

TEST_F(NiftiIo, info) {
  nifti_1_header header = sound_header();
  header.srow_x[0] = -1;
  const NiftiInfo info = read_nifti_info(write("a.nii", file_bytes(header)));
  EXPECT_EQ(info.datatype, "INT16");
  EXPECT_EQ(info.orientation, "LAS");
  EXPECT_EQ(info.transform_source, "sform");
  EXPECT_EQ(info.extents, (std::vector<int64_t>{5, 4, 3}));
  EXPECT_EQ(info.slope, 1);
}

TEST_F(NiftiIo, more_voxels_than_one_read_takes) {
  const int count = 130 * 90 * 100;
  const Image image =
      read_image(write("a.nii.gz", gzip(file_bytes(sound_header({130, 90, 100}), voxels(count)))));
  for (int i = 0; i < count; ++i)
    ASSERT_EQ(image.voxels[static_cast<size_t>(i)], static_cast<float>(static_cast<int16_t>(i)));
}

TEST_F(NiftiIo, qform_is_a_quaternion_with_handedness) {
  nifti_1_header header = sound_header();
  header.sform_code = 0;
  header.qform_code = 1;
  header.quatern_d = std::sqrt(0.5f);  // a quarter turn about z: x to y, y to -x
  header.qoffset_x = 7;
  header.pixdim[0] = -1;  // z down
  const Image image = read_image(write("a.nii", file_bytes(header)));
  const Affine expected{{{0, -2, 0, 7}, {1, 0, 0, 0}, {0, 0, -3, 0}}};
  for (size_t row = 0; row < 3; ++row)
    for (size_t column = 0; column < 4; ++column)
      EXPECT_NEAR(image.geometry.affine[row][column], expected[row][column], 1e-6) << row << "," << column;
  EXPECT_EQ(orientation_code(image.geometry.affine), "ALI");
}

TEST_F(NiftiIo, series) {
  const std::vector<Image> images = read_image_series(write("a.nii", file_bytes(sound_header({5, 2, 3, 2}))));
  ASSERT_EQ(images.size(), 2u);
  EXPECT_EQ(images[1].geometry.extent, (std::array<int64_t, 3>{5, 2, 3}));
  EXPECT_EQ(images[0].voxels[29], 29);
  EXPECT_EQ(images[1].voxels[0], 30);
}

TEST_F(NiftiIo, written_images_read_back_in_all_types) {
  Image image{{{5, 4, 3}, {{{-1, 0.25, 0, 10}, {0.25, 2, 0, -20}, {0, 0, 1.5, 30}}}}, std::vector<float>(60)};
  std::iota(image.voxels.begin(), image.voxels.end(), 0.f);
  for (const VoxelType type : {VoxelType::uint8, VoxelType::int16, VoxelType::float32})
    for (const char* name : {"a.nii", "a.nii.gz"}) {
      write_image(folder_ / name, image, type);
      const Image back = read_image(folder_ / name);
      EXPECT_EQ(back.voxels, image.voxels);
      EXPECT_EQ(back.geometry, image.geometry);
      EXPECT_EQ(read_nifti_info(folder_ / name).compressed, std::string(name) == "a.nii.gz");
    }
  image.voxels[7] = 2.5f;  // to the nearest even, as IEEE rounds
  write_image(folder_ / "a.nii", image, VoxelType::int16);
  EXPECT_EQ(read_image(folder_ / "a.nii").voxels[7], 2);
}

TEST_F(NiftiIo, all_48_orientations_survive_file_and_canonical_form) {
  std::array<int, 3> axes{0, 1, 2};
  std::string data(60, '\0');
  std::iota(data.begin(), data.end(), '\0');
  do {
    for (int flips = 0; flips < 8; ++flips) {
      nifti_1_header header = sound_header();
      header.datatype = DT_UINT8;
      header.bitpix = 8;
      float* rows[3] = {header.srow_x, header.srow_y, header.srow_z};
      for (int axis = 0; axis < 3; ++axis) {
        for (int column = 0; column < 3; ++column) rows[axis][column] = 0;
        rows[axis][3] = 8.5f * static_cast<float>(axis) - 9;
      }
      for (int axis = 0; axis < 3; ++axis)
        rows[axes[static_cast<size_t>(axis)]][axis] =
            (flips >> axis & 1 ? -1.f : 1.f) * (0.5f + static_cast<float>(axis));
      const fs::path file = write("a.nii", file_bytes(header, data)), result = folder_ / "b.nii";
      const LabelMap labels = read_label_map(file);
      const LabelMap canonical = to_canonical(labels);
      EXPECT_EQ(orientation_code(canonical.geometry.affine), "RAS");
      write_label_map(result, from_canonical(canonical, labels.geometry), read_nifti_template(file));
      const LabelMap back = read_label_map(result);
      EXPECT_EQ(back.voxels, labels.voxels);
      EXPECT_EQ(back.geometry, labels.geometry);
      EXPECT_EQ(read_bytes(result), read_bytes(file));
    }
  } while (std::next_permutation(axes.begin(), axes.end()));
}

TEST_F(NiftiIo, the_qform_written_is_the_sform) {
  Image image{{{2, 2, 2}, {{{-0.6, 0, 0.8, 10}, {0, -1, 0, -20}, {0.8, 0, 0.6, 30}}}}, std::vector<float>(8)};
  write_image(folder_ / "a.nii", image);
  auto header = header_of<nifti_1_header>(folder_ / "a.nii");
  EXPECT_EQ(header.qform_code, 1);
  header.sform_code = 0;
  const Image by_qform = read_image(write("b.nii", file_bytes(header, std::string(32, '\0'))));
  EXPECT_LT(grid_distance(by_qform.geometry, image.geometry), 1e-5);
  image.geometry.affine[0][1] = 0.5;  // sheared: only the sform can tell
  write_image(folder_ / "a.nii", image);
  EXPECT_EQ(header_of<nifti_1_header>(folder_ / "a.nii").qform_code, 0);
}

TEST_F(NiftiIo, template_keeps_every_field_but_type_and_scaling) {
  nifti_1_header header = sound_header({5, 4, 3, 1});
  header.qform_code = 2;
  header.sform_code = 4;
  header.qoffset_x = 3;
  header.toffset = 0.5f;
  header.xyzt_units = NIFTI_UNITS_MM | NIFTI_UNITS_MSEC;
  header.scl_slope = 0.1f;
  header.scl_inter = -4;
  header.dim_info = 57;
  std::strcpy(header.descrip, "a scanner's words");
  nifti_swap_as_nifti1(&header);
  std::vector<int16_t> values(60);
  const fs::path file = write("a.nii", file_bytes(header, bytes_of(values)));
  LabelMap labels{read_image(file).geometry, std::vector<uint8_t>(60, 4)};
  write_label_map(folder_ / "b.nii", labels, read_nifti_template(file));
  const auto found = header_of<nifti_1_header>(folder_ / "b.nii");
  nifti_1_header expected = header;
  nifti_swap_as_nifti1(&expected);  // written in this machine's byte order
  expected.dim[0] = 3;
  expected.datatype = DT_UINT8;
  expected.bitpix = 8;
  expected.scl_slope = 1;
  expected.scl_inter = 0;
  EXPECT_EQ(bytes_of(found), bytes_of(expected));
  EXPECT_EQ(read_label_map(folder_ / "b.nii").voxels, labels.voxels);
}

TEST_F(NiftiIo, template_of_version_2) {
  const fs::path file = write("a.nii", file_bytes(sound_header2()));
  const Image image = read_image(file);
  write_image(folder_ / "b.nii.gz", image, VoxelType::float32, read_nifti_template(file));
  EXPECT_EQ(read_nifti_info(folder_ / "b.nii.gz").version, 2);
  EXPECT_EQ(read_image(folder_ / "b.nii.gz").voxels, image.voxels);
}

TEST_F(NiftiIo, extents_beyond_16_bits_make_a_version_2_file) {
  const Image image{{{40000, 1, 1}, Geometry{}.affine}, std::vector<float>(40000, 1.5f)};
  write_image(folder_ / "a.nii.gz", image);
  EXPECT_EQ(read_nifti_info(folder_ / "a.nii.gz").version, 2);
  EXPECT_EQ(read_image(folder_ / "a.nii.gz").voxels, image.voxels);
}

TEST_F(NiftiIo, names_with_spaces_and_unicode) {
  const Image image{{{1, 1, 1}, Geometry{}.affine}, {3.f}};
  const fs::path file = folder_ / "Köpfe und Bäuche \xe8\x84\xb3.nii.gz";
  write_image(file, image);
  EXPECT_EQ(read_image(file).voxels, image.voxels);
}

/// A real T1 head at 1 mm from Debian's mricron-data, where it is installed.
TEST_F(NiftiIo, real_head) {
  const fs::path file = "/usr/share/mricron/templates/ch2bet.nii.gz";
  if (!fs::exists(file)) return;
  const NiftiInfo info = read_nifti_info(file);
  EXPECT_EQ(info.extents, (std::vector<int64_t>{181, 217, 181}));
  EXPECT_EQ(info.datatype, "UINT8");
  EXPECT_EQ(info.transform_source, "sform");
  const Image image = read_image(file);
  EXPECT_EQ(count_nonfinite(image), 0);
  EXPECT_EQ(std::count_if(image.voxels.begin(), image.voxels.end(), [](float v) { return v > 0; }), 1737193);
  const Image back = from_canonical(to_canonical(image), image.geometry);
  EXPECT_EQ(back.voxels, image.voxels);
  write_image(folder_ / "a.nii.gz", image, VoxelType::uint8, read_nifti_template(file));
  EXPECT_EQ(read_image(folder_ / "a.nii.gz").geometry, image.geometry);
}

}  // namespace
}  // namespace vg::data
