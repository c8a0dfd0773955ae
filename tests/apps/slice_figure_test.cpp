#include "apps/slice_figure.h"

#include <gtest/gtest.h>

#include "apps/figure_files.h"
#include "apps/slice_animation.h"
#include "support/expect_error.h"
#include "support/picture_files.h"

namespace vg::apps::test {
namespace {

using vg::test::DecodedGif;
using vg::test::expect_error;
using vg::test::Rgb;

// The patient's right half is bright, and oedema fills the first three columns of slice 2 in the prediction;
// the truth has one voxel of the core in slice 1, at the patient's left back.
FigureSubject subject(SliceAxis axis = SliceAxis::axial) {
  data::LabelMap predicted = label_map(brats_geometry(), {});
  for (int64_t j = 0; j < 5; ++j) {
    for (int64_t i = 0; i < 3; ++i)
      predicted.voxels[static_cast<size_t>(brats_geometry().index(i, j, 2))] = 2;
  }
  return FigureFixture(predicted, label_map(brats_geometry(), {{5, 4, 1, 1}}), bright_right(brats_geometry()))
      .load(axis);
}

// Where panels lie in the figure: 480 pixels for the longer side, 80 a voxel here.
constexpr int64_t kLeft = 24, kTop = 90, kStep = 480 + 16, kVoxel = 80;

Colour voxel_of(const Picture& picture, int64_t panel, int64_t x, int64_t y) {
  return picture.at(kLeft + panel * kStep + x * kVoxel + kVoxel / 2, kTop + y * kVoxel + kVoxel / 2);
}

TEST(SliceFigure, PanelsShowImagePredictionAndTruth) {
  const FigureSubject s = subject();
  const Picture picture = draw_slice_figure(s, 2);
  EXPECT_EQ(picture.width(), 24 + 3 * 480 + 2 * 16 + 24);
  EXPECT_EQ(voxel_of(picture, 0, 1, 1), kWhite);  // the patient's right, at the left
  EXPECT_EQ(voxel_of(picture, 0, 4, 1), kBlack);
  const Colour oedema = class_colours()[2], tinted = voxel_of(picture, 1, 1, 1);
  EXPECT_NEAR(tinted.red, 255 * (1 - kOverlayAlpha) + oedema.red * kOverlayAlpha, 2);
  EXPECT_NEAR(tinted.green, 255 * (1 - kOverlayAlpha) + oedema.green * kOverlayAlpha, 2);
  EXPECT_EQ(picture.at(kLeft + kStep + 3 * kVoxel - 1, kTop + kVoxel + 40), oedema);  // outline
  EXPECT_EQ(voxel_of(picture, 1, 4, 1), kBlack);
  EXPECT_EQ(voxel_of(picture, 2, 1, 1), kWhite);
  const Picture below = draw_slice_figure(s, 1);
  const Colour core = class_colours()[1];
  EXPECT_NEAR(voxel_of(below, 2, 5, 4).red, core.red * kOverlayAlpha, 2);
  EXPECT_EQ(voxel_of(below, 1, 5, 4), kBlack);
}

TEST(SliceFigure, ProportionsFollowTheSpacing) {
  // Coronal: 6 voxels of 1 mm across, 4 of 2 mm down: 360 x 480.
  const Picture picture = draw_slice_figure(subject(SliceAxis::coronal), 1);
  EXPECT_EQ(picture.width(), 24 + 3 * 360 + 2 * 16 + 24);
}

TEST(SliceFigure, WithoutTruthOrImageTheirPanelsAreLeftOut) {
  FigureSubject s = subject();
  s.truth.reset();
  s.scores.clear();
  EXPECT_EQ(draw_slice_figure(s, 2).width(), 24 + 2 * 480 + 16 + 24);
  EXPECT_EQ(legend_of(s)[0].dice, "");
  s.image.reset();
  const Picture picture = draw_slice_figure(s, 2);
  EXPECT_NEAR(voxel_of(picture, 0, 1, 1).green, class_colours()[2].green * kOverlayAlpha, 2);
}

TEST(SliceFigure, TheLegendHasEveryClassAndRegionOfTheSchema) {
  const std::vector<LegendEntry> legend = legend_of(subject());
  ASSERT_EQ(legend.size(), 6u);
  EXPECT_EQ(legend[1].text, "peritumoural oedema (label 2)");
  EXPECT_EQ(legend[1].colour, class_colours()[2]);
  EXPECT_EQ(legend[2].dice, "in neither");
  EXPECT_EQ(legend[3].text, "WT, whole tumour (labels 1, 2, 4)");
  EXPECT_EQ(legend[3].classes, (std::vector<uint8_t>{1, 2, 3}));
  EXPECT_EQ(legend[3].dice, "Dice 0.000");
  for (const data::BratsEdition& edition : data::brats_editions())
    EXPECT_LE(edition.schema.classes(), static_cast<int64_t>(class_colours().size()));
}

TEST(SliceFigure, SlicesThatAreNotThere) {
  expect_error<std::invalid_argument>([] { (void)draw_slice_figure(subject(), 4); },
                                      {"--slice", "4", "0 to 3"});
  expect_error<std::invalid_argument>([] { (void)draw_slice_figure(subject(), -1); }, {"--slice", "-1"});
}

TEST(SliceAnimation, AFrameForEachSliceAtNativeSize) {
  const FigureSubject s = subject();
  const std::string bytes = draw_slice_animation(s, 12);
  const DecodedGif gif = vg::test::decode_gif(bytes);
  EXPECT_EQ(gif.width, 2 * 6);
  EXPECT_EQ(gif.height, kAnimationCaption + 5);
  EXPECT_EQ(gif.indices.size(), 4u);
  EXPECT_EQ(gif.delays, std::vector<int>(4, 12));
  EXPECT_TRUE(gif.loops_forever);
  EXPECT_EQ(gif.palette_size, 256u);
  EXPECT_EQ(bytes, draw_slice_animation(s, 12)) << "the same input gives the same bytes";
}

TEST(SliceAnimation, Pixels) {
  const DecodedGif gif = vg::test::decode_gif(draw_slice_animation(subject(), 8));
  const auto at = [&](size_t slice, int64_t panel, int64_t x, int64_t y) {
    return gif.at(slice, panel * 6 + x, kAnimationCaption + y);
  };
  const Colour oedema = class_colours()[2], core = class_colours()[1];
  EXPECT_EQ(at(0, 0, 0, 0), (Rgb{255, 255, 255}));
  EXPECT_EQ(at(0, 0, 5, 0), (Rgb{0, 0, 0}));
  EXPECT_EQ(at(2, 0, 2, 2), (Rgb{oedema.red, oedema.green, oedema.blue}));  // edge
  const Rgb inside = at(2, 0, 1, 2);
  EXPECT_NEAR(inside[0], 255 * (1 - kOverlayAlpha) + oedema.red * kOverlayAlpha, 2);
  EXPECT_NEAR(inside[2], 255 * (1 - kOverlayAlpha) + oedema.blue * kOverlayAlpha, 2);
  EXPECT_EQ(at(2, 1, 1, 2), (Rgb{255, 255, 255}));
  EXPECT_EQ(at(1, 1, 5, 4), (Rgb{core.red, core.green, core.blue}));
}

TEST(SliceAnimation, WithoutTruthOnePanel) {
  FigureSubject s = subject();
  s.truth.reset();
  s.image.reset();
  const DecodedGif gif = vg::test::decode_gif(draw_slice_animation(s, 8));
  EXPECT_EQ(gif.width, 6);
  EXPECT_EQ(gif.at(0, 0, kAnimationCaption), (Rgb{0, 0, 0}));
}

}  // namespace
}  // namespace vg::apps::test
