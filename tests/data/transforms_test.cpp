// Preprocessing against TorchIO's results (tests/golden/make_preprocessing.py) and against its own inverse.
#include "data/transforms.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/geometry.h"
#include "data/nifti_io.h"
#include "data/preprocessing.h"
#include "engine/safetensors.h"

namespace vg::data {
namespace {

const std::filesystem::path golden = std::filesystem::path(VG_GOLDEN_DIR) / "preprocessing";

/// A volume whose voxels all differ (as far as T allows), with any affine.
template <class T>
Volume<T> numbered(std::array<int64_t, 3> extent, const Affine& affine = Geometry{}.affine) {
  Volume<T> volume{{extent, affine}, {}};
  volume.voxels.resize(static_cast<size_t>(volume.geometry.voxels()));
  for (size_t i = 0; i < volume.voxels.size(); ++i) volume.voxels[i] = static_cast<T>(i % 251);
  return volume;
}

/// The affine of voxel axes that run along the anatomical axes `axes`, `signs` telling the direction.
Affine axis_aligned(std::array<int, 3> axes, std::array<int, 3> signs, std::array<double, 3> spacing) {
  Affine affine{};
  for (size_t axis = 0; axis < 3; ++axis)
    affine[static_cast<size_t>(axes[axis])][axis] = signs[axis] * spacing[axis];
  affine[0][3] = -12.5;
  affine[1][3] = 33;
  affine[2][3] = 7.25;
  return affine;
}

/// All 48 ways to put three voxel axes along the anatomical ones.
std::vector<Affine> all_orientations(std::array<double, 3> spacing) {
  std::vector<Affine> affines;
  std::array<int, 3> axes{0, 1, 2};
  do {
    for (int flips = 0; flips < 8; ++flips)
      affines.push_back(
          axis_aligned(axes, {flips & 1 ? -1 : 1, flips & 2 ? -1 : 1, flips & 4 ? -1 : 1}, spacing));
  } while (std::next_permutation(axes.begin(), axes.end()));
  return affines;
}

void expect_affine_near(const Affine& actual, const Affine& expected, double tolerance) {
  for (size_t row = 0; row < 3; ++row)
    for (size_t column = 0; column < 4; ++column)
      EXPECT_NEAR(actual[row][column], expected[row][column], tolerance) << row << "," << column;
}

// ---- Against TorchIO. ----

class Golden : public testing::Test {
 protected:
  Safetensors steps_ = load_safetensors(golden / "steps.safetensors");
  nlohmann::json texts_ = nlohmann::json::parse(steps_.metadata.at("json"));
  Image image_ = read_image(golden / "image.nii.gz");
  LabelMap labels_ = read_label_map(golden / "labels.nii.gz");

  void expect_image(const Image& actual, const std::string& name) const {
    const Tensor& expected = steps_.at(name + ".image");
    const auto& e = actual.geometry.extent;
    ASSERT_EQ(expected.shape(), (Shape{e[2], e[1], e[0]}));
    const float* values = expected.data<float>();
    float largest = 0;
    for (int64_t i = 0; i < expected.elements(); ++i) largest = std::max(largest, std::abs(values[i]));
    for (int64_t i = 0; i < expected.elements(); ++i) {
      const float found = actual.voxels[static_cast<size_t>(i)];
      ASSERT_TRUE(std::abs(found - values[i]) <= 1e-5f * largest)
          << i << ": " << found << " vs " << values[i];
    }
  }
  void expect_labels(const LabelMap& actual, const std::string& name) const {
    const Tensor& expected = steps_.at(name + ".labels");
    const auto& e = actual.geometry.extent;
    ASSERT_EQ(expected.shape(), (Shape{e[2], e[1], e[0]}));
    const uint8_t* values = expected.data<uint8_t>();
    int64_t foreground = 0;
    for (int64_t i = 0; i < expected.elements(); ++i) {
      ASSERT_EQ(actual.voxels[static_cast<size_t>(i)], values[i]) << i;
      foreground += values[i] != 0;
    }
    EXPECT_GT(foreground, 0);
  }
  void expect_geometry(const Geometry& actual, const std::string& name) const {
    const float* values = steps_.at(name + ".affine").data<float>();
    for (size_t row = 0; row < 3; ++row)
      for (size_t column = 0; column < 4; ++column)
        EXPECT_NEAR(actual.affine[row][column], values[4 * row + column], 1e-5) << row << "," << column;
  }
};

TEST_F(Golden, each_step_equals_torchio) {
  ASSERT_EQ(texts_.size(), 13u);
  for (const auto& [name, text] : texts_.items()) {
    if (name == "back") continue;
    SCOPED_TRACE(name);
    const Preprocessing steps = Preprocessing::parse(text.get<std::string>());
    const Image image = steps.apply(image_);
    expect_image(image, name);
    expect_geometry(image.geometry, name);
    EXPECT_EQ(steps.output_geometry(image_.geometry), image.geometry);
    if (!steps_.contains(name + ".labels")) continue;
    const LabelMap labels = steps.apply(labels_);
    expect_labels(labels, name);
    EXPECT_EQ(labels.geometry, image.geometry);
  }
}

TEST_F(Golden, resampling_back_onto_the_scan_equals_torchio) {
  const Preprocessing steps = Preprocessing::parse(texts_.at("back").get<std::string>());
  const Image image = resample_to(steps.apply(image_), image_.geometry);
  expect_image(image, "back");
  expect_labels(resample_to(steps.apply(labels_), labels_.geometry), "back");
  expect_geometry(image.geometry, "back");
}

TEST_F(Golden, results_do_not_depend_on_threads) {
  const Preprocessing steps =
      Preprocessing::parse("to_canonical z_normalize rescale(0,1,1,99) resample(0.4)");
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const Image one = steps.apply(image_);
  for (const int count : {2, 3}) {
    omp_set_num_threads(count);
    EXPECT_EQ(steps.apply(image_).voxels, one.voxels) << count;
  }
  omp_set_num_threads(threads);
}

// ---- Geometry. ----

TEST(Geometry, canonical_form_of_all_48_orientations) {
  for (const Affine& affine : all_orientations({1, 2, 3})) {
    SCOPED_TRACE(orientation_code(affine));
    const auto volume = numbered<float>({5, 4, 3}, affine);
    const Image canonical = to_canonical(volume);
    EXPECT_EQ(orientation_code(canonical.geometry.affine), "RAS");
    EXPECT_EQ(obliquity_degrees(canonical.geometry.affine), 0);
    // Every voxel is still where it was.
    const Affine to_canonical_index = inverse(canonical.geometry.affine);
    for (int64_t k = 0; k < 3; ++k)
      for (int64_t j = 0; j < 4; ++j)
        for (int64_t i = 0; i < 5; ++i) {
          const Point place = to_millimetres(
              affine, {static_cast<double>(i), static_cast<double>(j), static_cast<double>(k)});
          const Point index = to_millimetres(to_canonical_index, place);
          const int64_t at =
              canonical.geometry.index(std::lround(index[0]), std::lround(index[1]), std::lround(index[2]));
          ASSERT_EQ(canonical.voxels[static_cast<size_t>(at)],
                    volume.voxels[static_cast<size_t>(volume.geometry.index(i, j, k))]);
        }
    const Image back = from_canonical(canonical, volume.geometry);
    EXPECT_EQ(back.voxels, volume.voxels);
    EXPECT_EQ(back.geometry, volume.geometry);
  }
}

TEST(Geometry, orientation_codes) {
  EXPECT_EQ(orientation_code(Geometry{}.affine), "RAS");
  EXPECT_EQ(orientation_code(axis_aligned({0, 1, 2}, {-1, -1, 1}, {1, 1, 1})), "LPS");
  EXPECT_EQ(orientation_code(axis_aligned({1, 2, 0}, {-1, -1, 1}, {1, 1, 1})), "PIR");
}

TEST(Geometry, inverse_undoes_and_a_singular_affine_is_an_error) {
  const Affine affine{{{0.9, 0.2, 0, 5}, {-0.1, 1.4, 0.3, -7}, {0.2, 0, -2, 11}}};
  expect_affine_near(compose(affine, inverse(affine)), Geometry{}.affine, 1e-12);
  EXPECT_TRUE(is_invertible(affine));
  const Affine singular{{{1, 2, 0, 0}, {1, 2, 0, 0}, {0, 0, 1, 0}}};
  EXPECT_FALSE(is_invertible(singular));
  EXPECT_THROW(inverse(singular), DataError);
  EXPECT_FALSE(is_invertible(Affine{}));
}

TEST(Geometry, obliquity_and_shear) {
  const double c = std::cos(0.1), s = std::sin(0.1), degrees = 0.1 * 180 / 3.14159265358979;
  const Affine turned{{{c, -2 * s, 0, 0}, {s, 2 * c, 0, 0}, {0, 0, 3, 0}}};
  EXPECT_NEAR(obliquity_degrees(turned), degrees, 1e-6);
  EXPECT_NEAR(shear_degrees(turned), 0, 1e-6);
  const Affine sheared{{{1, 2 * s, 0, 0}, {0, 2 * c, 0, 0}, {0, 0, 3, 0}}};
  EXPECT_NEAR(shear_degrees(sheared), degrees, 1e-6);
}

TEST(Geometry, distance_of_grids) {
  Geometry a{{10, 10, 10}, Geometry{}.affine}, b = a;
  EXPECT_EQ(grid_distance(a, b), 0);
  b.affine[1][3] = 2;
  EXPECT_DOUBLE_EQ(grid_distance(a, b), 2);
  b.extent[2] = 9;
  EXPECT_EQ(grid_distance(a, b), std::numeric_limits<double>::infinity());
}

// ---- Spatial transforms. ----

TEST(Transforms, seed_preset_takes_brats_to_112x128x80) {
  const Preprocessing seed = preprocessing_preset("seed");
  const Geometry brats{{240, 240, 155}, axis_aligned({0, 1, 2}, {-1, -1, 1}, {1, 1, 1})};
  EXPECT_EQ(seed.output_geometry(brats).extent, (std::array<int64_t, 3>{112, 128, 80}));
  EXPECT_EQ(seed.text(),
            "to_canonical rescale(0,1) crop(45,45,17,35,13,24) resample(1.5) shape_multiple(16)");
  EXPECT_EQ(padding_to_multiple({{100, 126, 79}, brats.affine}, {16, 16, 16}), (Bounds{6, 6, 1, 1, 1, 0}));
}

TEST(Transforms, preprocessing_padded_to_a_multiple) {
  const auto padded = [](const char* text, int64_t multiple) {
    return Preprocessing::parse(text).padded_to_multiple(multiple).text();
  };
  EXPECT_EQ(padded("none", 16), "shape_multiple(16)");
  EXPECT_EQ(padded("none", 1), "none");
  EXPECT_EQ(padded("seed", 16), Preprocessing::parse("seed").text());
  EXPECT_EQ(padded("shape_multiple(32,16,48)", 8), "shape_multiple(32,16,48)");
  EXPECT_EQ(padded("shape_multiple(16,8,16)", 16), "shape_multiple(16,8,16) shape_multiple(16)");
  EXPECT_EQ(padded("shape_multiple(16) pad(1,0,0,0,0,0)", 16),
            "shape_multiple(16) pad(1,0,0,0,0,0) shape_multiple(16)");
}

TEST(Transforms, crop_larger_than_the_image_names_axis_and_sizes) {
  try {
    preprocessing_preset("seed").apply(numbered<float>({91, 52, 40}));
    FAIL();
  } catch (const DataError& error) {
    const std::string text = error.what();
    for (const char* part : {"crop", "52 voxels along axis 1", "91x52x40", "more than the 52"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

TEST(Transforms, crop_undoes_pad) {
  const auto volume = numbered<uint8_t>({5, 7, 3});
  const Bounds bounds{1, 2, 0, 3, 4, 0};
  const LabelMap padded = pad(volume, bounds, uint8_t{9});
  EXPECT_EQ(padded.geometry.extent, (std::array<int64_t, 3>{8, 10, 7}));
  EXPECT_EQ(padded.voxels[0], 9);
  const LabelMap back = crop(padded, bounds);
  EXPECT_EQ(back.voxels, volume.voxels);
  EXPECT_EQ(back.geometry, volume.geometry);
}

TEST(Transforms, bad_parameters) {
  const auto volume = numbered<float>({5, 7, 3});
  EXPECT_THROW(crop(volume, {-1, 0, 0, 0, 0, 0}), std::invalid_argument);
  EXPECT_THROW(pad(volume, {0, 0, -1, 0, 0, 0}), std::invalid_argument);
  EXPECT_THROW(resample(volume, {0, 1, 1}), std::invalid_argument);
  EXPECT_THROW(resample(volume, {1, NAN, 1}), std::invalid_argument);
  EXPECT_THROW(resample(volume, {1e-5, 1, 1}), DataError);
  EXPECT_THROW(ensure_shape_multiple(volume, {0, 1, 1}), std::invalid_argument);
  EXPECT_THROW(rescale_intensity(volume, {1, 0}), std::invalid_argument);
  EXPECT_THROW(rescale_intensity(volume, {0, 1, 60, 40}), std::invalid_argument);
  EXPECT_THROW(from_canonical(volume, {{3, 3, 3}, Geometry{}.affine}), std::invalid_argument);
}

TEST(Transforms, resampling_reproduces_a_linear_ramp_and_repeats_the_edge) {
  Image ramp{{{9, 1, 1}, Geometry{}.affine}, std::vector<float>(9)};
  std::iota(ramp.voxels.begin(), ramp.voxels.end(), 0.f);
  Geometry target{{6, 1, 1}, Geometry{}.affine};
  target.affine[0][0] = 2;
  target.affine[0][3] =
      -0.75;  // places -0.75, 1.25, 3.25, 5.25, 7.25, 9.25 of an image that ends at -0.5 and 8.5
  const Image result = resample_to(ramp, target, Interpolation::linear, -7.f);
  EXPECT_EQ(result.voxels, (std::vector<float>{-7, 1.25, 3.25, 5.25, 7.25, -7}));
  target.affine[0][3] = -0.5;  // exactly the border: inside below, outside above (8.5 would be)
  EXPECT_EQ(resample_to(ramp, target, Interpolation::linear, -7.f).voxels[0], 0);
  EXPECT_EQ(resample_to(ramp, target, Interpolation::nearest, -7.f).voxels,
            (std::vector<float>{0, 2, 4, 6, 8, -7}));
}

TEST(Transforms, constant_images) {
  Image constant{{{4, 4, 4}, Geometry{}.affine}, std::vector<float>(64, 3.f)};
  std::vector<std::string> warnings;
  const Image same =
      rescale_intensity(constant, {}, [&](const std::string& text) { warnings.push_back(text); });
  EXPECT_EQ(same.voxels, constant.voxels);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("same intensity"), std::string::npos);
  EXPECT_THROW(z_normalize(constant), DataError);
  EXPECT_THROW(z_normalize(Image{constant.geometry, std::vector<float>(64)}, true), DataError);
  const Image empty_mask =
      rescale_intensity(Image{constant.geometry, std::vector<float>(64)}, {0, 1, 1, 99, true});
  EXPECT_EQ(empty_mask.voxels, std::vector<float>(64));
}

TEST(Transforms, nonfinite_voxels_are_counted_refused_and_replaced) {
  auto image = numbered<float>({5, 5, 5});
  image.voxels[3] = NAN;
  image.voxels[77] = -INFINITY;
  EXPECT_EQ(count_nonfinite(image), 2);
  EXPECT_THROW(rescale_intensity(image), DataError);
  EXPECT_THROW(z_normalize(image), DataError);
  EXPECT_EQ(replace_nonfinite(image), 2);
  EXPECT_EQ(count_nonfinite(image), 0);
  EXPECT_EQ(image.voxels[3], 0);
}

// ---- Steps as text, and the way back. ----

TEST(Preprocessing, text_round_trip) {
  for (const char* text :
       {"none", "to_canonical", "rescale(0,1)", "rescale(-1,1,0.5,99.5)", "rescale(0,1,0.5,99.5,nonzero)",
        "rescale(0,1,nonzero)", "z_normalize", "z_normalize(nonzero)", "crop(1,2,3,4,5,6)",
        "pad(1,2,3,4,5,6)", "resample(1.5)", "resample(1,1.25,2)", "shape_multiple(16)",
        "shape_multiple(16,8,4)", "to_canonical z_normalize resample(2)"})
    EXPECT_EQ(Preprocessing::parse(text).text(), text);
  EXPECT_EQ(Preprocessing::parse("seed").text(), preprocessing_preset("seed").text());
  EXPECT_EQ(Preprocessing::parse("brats").text(),
            "to_canonical z_normalize(nonzero) crop(45,45,17,35,13,24) resample(1.5) shape_multiple(16)");
  EXPECT_EQ(Preprocessing::parse("  crop(0,0,0,0,0,1)   seed ").steps().size(), 6u);
  EXPECT_TRUE(Preprocessing::parse("").steps().empty());
}

TEST(Preprocessing, bad_text_is_an_error_that_shows_it) {
  for (const char* text :
       {"sharpen", "rescale", "rescale(1)", "rescale(a,b)", "crop(1,2,3)", "crop(1,2,3,4,5,-6)",
        "crop(1,2,3,4,5,0.5)", "resample(0)", "resample(nan)", "resample(1,2)", "resample(1.5",
        "shape_multiple(0)", "to_canonical(1)", "resample(1,nonzero)", "crop(1,2,3,4,5,1e300)"}) {
    try {
      Preprocessing::parse(text);
      ADD_FAILURE() << text;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("expected"), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(preprocessing_preset("sead"), std::invalid_argument);
}

TEST(Preprocessing, lossless_steps_are_undone_exactly_in_all_orientations) {
  const Preprocessing steps =
      Preprocessing::parse("to_canonical crop(1,0,0,1,1,1) pad(0,2,1,0,0,0) shape_multiple(4)");
  for (const Affine& affine : all_orientations({1, 2, 3})) {
    SCOPED_TRACE(orientation_code(affine));
    const auto labels = numbered<uint8_t>({6, 5, 4}, affine);
    const LabelMap back = steps.invert(steps.apply(labels), labels.geometry, 255);
    EXPECT_EQ(back.geometry, labels.geometry);
    // What was cropped, as seen on the canonical grid, is 255; the rest is back.
    const LabelMap expected = to_canonical(labels), found = to_canonical(back);
    const auto& e = expected.geometry.extent;
    for (int64_t k = 0; k < e[2]; ++k)
      for (int64_t j = 0; j < e[1]; ++j)
        for (int64_t i = 0; i < e[0]; ++i) {
          const bool kept = i >= 1 && j < e[1] - 1 && k >= 1 && k < e[2] - 1;
          const size_t at = static_cast<size_t>(expected.geometry.index(i, j, k));
          ASSERT_EQ(found.voxels[at], kept ? expected.voxels[at] : 255) << i << " " << j << " " << k;
        }
  }
}

/// A ball of label 1 in an oblique scan with LPS-like axes: the seed's kind of steps and back moves only its
/// surface.
TEST(Preprocessing, resampled_labels_come_back_to_their_place) {
  Affine affine = axis_aligned({0, 1, 2}, {-1, -1, 1}, {1, 1, 1});
  affine[0][1] = 0.1;
  affine[1][0] = 0.1;
  LabelMap labels{{{40, 44, 36}, affine}, std::vector<uint8_t>(40 * 44 * 36)};
  Image image{labels.geometry, std::vector<float>(labels.voxels.size())};
  const auto radius = [](int64_t i, int64_t j, int64_t k) {
    return std::hypot(static_cast<double>(i) - 19, static_cast<double>(j) - 25, static_cast<double>(k) - 17);
  };
  for (int64_t k = 0; k < 36; ++k)
    for (int64_t j = 0; j < 44; ++j)
      for (int64_t i = 0; i < 40; ++i) {
        const size_t at = static_cast<size_t>(labels.geometry.index(i, j, k));
        labels.voxels[at] = radius(i, j, k) < 8;
        image.voxels[at] = static_cast<float>(radius(i, j, k) < 8);
      }
  const Preprocessing steps =
      Preprocessing::parse("to_canonical rescale(0,1) crop(4,5,3,6,2,1) resample(1.5) shape_multiple(16)");
  const LabelMap back = steps.invert(steps.apply(labels), labels.geometry);
  const Image probability = steps.invert(steps.apply(image), image.geometry, 0.25f);
  EXPECT_EQ(back.geometry, labels.geometry);
  int64_t overlap = 0, size = 0;
  for (int64_t k = 0; k < 36; ++k)
    for (int64_t j = 0; j < 44; ++j)
      for (int64_t i = 0; i < 40; ++i) {
        const size_t at = static_cast<size_t>(labels.geometry.index(i, j, k));
        const double r = radius(i, j, k);
        if (r < 6.4) {
          EXPECT_EQ(back.voxels[at], 1) << r;
        }
        if (r > 9.6) {
          EXPECT_EQ(back.voxels[at], 0) << r;
        }
        if (r < 3.5) {
          EXPECT_NEAR(probability.voxels[at], 1, 1e-5) << r;
        }
        overlap += back.voxels[at] & labels.voxels[at];
        size += back.voxels[at] + labels.voxels[at];
      }
  EXPECT_GT(2.0 * static_cast<double>(overlap) / static_cast<double>(size), 0.9);
  EXPECT_EQ(probability.voxels[0], 0.25f);  // was cropped away
}

TEST(Preprocessing, invert_refuses_other_extents) {
  const Preprocessing steps = Preprocessing::parse("shape_multiple(16)");
  EXPECT_THROW(steps.invert(numbered<uint8_t>({8, 8, 8}), {{9, 9, 9}, Geometry{}.affine}),
               std::invalid_argument);
}

}  // namespace
}  // namespace vg::data
