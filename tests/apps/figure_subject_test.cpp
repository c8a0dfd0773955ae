#include "apps/figure_subject.h"

#include <gtest/gtest.h>

#include "apps/figure_files.h"
#include "support/expect_error.h"

namespace vg::apps::test {
namespace {

using vg::test::expect_error;

// The voxel furthest to the patient's right, front and head, and one furthest left, back and down.
data::LabelMap corners() {
  return label_map(brats_geometry(), {{0, 0, 3, 1}, {5, 4, 0, 4}});
}

void expect_corners(const FigureSubject& subject, int64_t first_slice, int64_t last_slice) {
  const SliceStack& stack = subject.prediction;
  EXPECT_EQ(stack.classes(last_slice).at(0, 0), 1) << to_string(subject.axis);
  EXPECT_EQ(stack.classes(first_slice).at(stack.width - 1, stack.height - 1), 3) << to_string(subject.axis);
}

TEST(FigureSubject, SlicesAreRadiologicalWhateverTheFilesAxes) {
  for (const bool canonical : {false, true}) {
    const data::LabelMap map = canonical ? data::to_canonical(corners()) : corners();
    const FigureFixture fixture(map, map, bright_right(brats_geometry()));
    FigureFiles files = fixture.files;
    files.image = std::nullopt;  // lies on the other grid in the second round
    files.truth = std::nullopt;
    for (const SliceAxis axis : {SliceAxis::sagittal, SliceAxis::coronal, SliceAxis::axial}) {
      const FigureSubject subject = load_figure_subject(files, axis, data::brats_edition(2020).schema, {});
      expect_corners(subject, 0, subject.prediction.slices - 1);
      EXPECT_FALSE(subject.truth || subject.image || !subject.scores.empty());
    }
  }
}

TEST(FigureSubject, SizesAndSpacingFollowTheAxis) {
  const FigureFixture fixture(corners(), corners(), bright_right(brats_geometry()));
  const FigureSubject axial = fixture.load(), coronal = fixture.load(SliceAxis::coronal),
                      sagittal = fixture.load(SliceAxis::sagittal);
  EXPECT_EQ(axial.prediction.width, 6);
  EXPECT_EQ(axial.prediction.height, 5);
  EXPECT_EQ(axial.prediction.slices, 4);
  EXPECT_EQ(axial.spacing, (std::array<double, 3>{1, 1, 2}));
  EXPECT_EQ(coronal.prediction.height, 4);
  EXPECT_EQ(coronal.prediction.slices, 5);
  EXPECT_EQ(coronal.spacing, (std::array<double, 3>{1, 2, 1}));
  EXPECT_EQ(sagittal.prediction.width, 5);
  EXPECT_EQ(sagittal.prediction.slices, 6);
  EXPECT_EQ(slice_order(SliceAxis::axial).left, 'R');
  EXPECT_EQ(slice_order(SliceAxis::sagittal).left, 'A');
  EXPECT_EQ(parse_slice_axis("coronal"), SliceAxis::coronal);
  expect_error<std::invalid_argument>([] { (void)parse_slice_axis("oblique"); }, {"oblique", "axial"});
}

TEST(FigureSubject, ThePatientsRightIsOnThePicturesLeft) {
  const FigureFixture fixture(corners(), corners(), bright_right(brats_geometry()));
  const FigureSubject subject = fixture.load();
  EXPECT_EQ(subject.image->slice(0)[0], 255);
  EXPECT_EQ(subject.image->slice(0)[5], 0);
  EXPECT_EQ(subject.image_name, "a_flair");
}

TEST(FigureSubject, GreyIsZeroOnlyAtTheDarkEnd) {
  data::Image image = bright_right(brats_geometry());
  image.voxels[5] = 1e-3F;  // tissue, if dark
  const FigureFixture fixture(corners(), corners(), image);
  const FigureSubject subject = fixture.load();
  EXPECT_EQ(subject.image->slice(0)[5], 1);
  EXPECT_EQ(subject.image->slice(0)[4], 0);
}

TEST(FigureSubject, TheSliceWithMostTumour) {
  const data::LabelMap empty = label_map(brats_geometry(), {});
  const data::LabelMap predicted = label_map(brats_geometry(), {{1, 1, 1, 2}, {2, 1, 1, 2}, {2, 2, 2, 1}});
  const data::LabelMap truth = label_map(brats_geometry(), {{1, 1, 3, 2}, {2, 1, 3, 4}, {2, 2, 0, 1}});
  const data::Image image = bright_right(brats_geometry());
  EXPECT_EQ(FigureFixture(predicted, truth, image).load().slice_with_most_tumour(), 3);
  EXPECT_EQ(FigureFixture(predicted, empty, image).load().slice_with_most_tumour(), 1);
  EXPECT_EQ(FigureFixture(empty, empty, image).load().slice_with_most_tumour(), 2);
  // Of slices with the same count the first.
  const data::LabelMap equal = label_map(brats_geometry(), {{1, 1, 2, 2}, {1, 1, 1, 2}});
  EXPECT_EQ(FigureFixture(empty, equal, image).load().slice_with_most_tumour(), 1);
}

TEST(FigureSubject, ScoresAreThoseOfTheVolume) {
  const data::LabelMap predicted = label_map(brats_geometry(), {{1, 1, 1, 2}, {2, 1, 1, 2}, {2, 2, 2, 4}});
  const data::LabelMap truth = label_map(brats_geometry(), {{1, 1, 1, 2}, {2, 1, 1, 1}});
  const FigureSubject subject = FigureFixture(predicted, truth, bright_right(brats_geometry())).load();
  ASSERT_EQ(subject.scores.size(), 6u);
  EXPECT_EQ(subject.scores[3].name, "WT");
  EXPECT_DOUBLE_EQ(subject.scores[3].dice(), 4.0 / 5);
}

TEST(FigureSubject, FilesThatDoNotBelongTogether) {
  const data::Image image = bright_right(brats_geometry());
  data::Geometry shifted = brats_geometry();
  shifted.affine[0][3] = 3;
  data::Geometry larger = brats_geometry();
  larger.extent[2] = 5;
  expect_error<data::DataError>([&] { (void)FigureFixture(corners(), label_map(shifted, {}), image).load(); },
                                {"a_seg.nii.gz", "affine", "3 mm", "a.nii.gz"});
  expect_error<data::DataError>(
      [&] { (void)FigureFixture(corners(), corners(), bright_right(larger)).load(); },
      {"a_flair.nii.gz", "6x5x5", "6x5x4", "a.nii.gz"});
  expect_error<data::DataError>(
      [&] {
        (void)FigureFixture(label_map(brats_geometry(), {{0, 0, 0, 3}}), corners(), image).load();
      },
      {"a.nii.gz", "3"});
}

TEST(FigureSubject, NonFiniteVoxelsAndConstantImagesWarn) {
  data::Image image = bright_right(brats_geometry());
  image.voxels[0] = std::numeric_limits<float>::quiet_NaN();
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& line) { warnings.push_back(line); };
  const data::LabelSchema& schema = data::brats_edition(2020).schema;
  const FigureFixture broken(corners(), corners(), image);
  EXPECT_EQ(load_figure_subject(broken.files, SliceAxis::axial, schema, warn).image->slice(0)[0], 0);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("1 NaN"), std::string::npos) << warnings[0];
  image.voxels.assign(image.voxels.size(), 7);
  const FigureFixture constant(corners(), corners(), image);
  (void)load_figure_subject(constant.files, SliceAxis::axial, schema, warn);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_NE(warnings[1].find("a_flair"), std::string::npos) << warnings[1];
}

}  // namespace
}  // namespace vg::apps::test
