#include "apps/picture.h"

#include <gtest/gtest.h>

#include <array>

namespace vg::apps {
namespace {

constexpr Colour kRed{200, 0, 0}, kBlue{0, 0, 200};

int64_t dark_pixels(const Picture& picture, const Box& box) {
  int64_t count = 0;
  for (auto y = static_cast<int64_t>(box.y); y < static_cast<int64_t>(box.y + box.height); ++y) {
    for (auto x = static_cast<int64_t>(box.x); x < static_cast<int64_t>(box.x + box.width); ++x)
      count += picture.at(x, y).red < 128;
  }
  return count;
}

TEST(Picture, RectanglesAndTheirPixels) {
  Picture picture(8, 4, kWhite);
  picture.rectangle({2, 1, 3, 2}, kRed);
  picture.rectangle({5, 0, 1, 4}, kBlack, 0.5);
  EXPECT_EQ(picture.at(1, 1), kWhite);
  EXPECT_EQ(picture.at(2, 1), kRed);
  EXPECT_EQ(picture.at(4, 2), kRed);
  EXPECT_EQ(picture.at(2, 3), kWhite);
  EXPECT_NEAR(picture.at(5, 0).green, 128, 1);
  const std::vector<uint8_t> rgb = picture.rgb();
  ASSERT_EQ(rgb.size(), 8u * 4 * 3);
  EXPECT_EQ(rgb[3 * (8 * 1 + 2)], 200);
  EXPECT_EQ(rgb[3 * (8 * 1 + 2) + 1], 0);
  EXPECT_THROW((void)picture.at(8, 0), std::out_of_range);
  EXPECT_THROW(Picture(0, 5, kWhite), std::runtime_error);
  EXPECT_THROW(Picture(5, 40000, kWhite), std::runtime_error);
}

TEST(Picture, TextIsDrawnWhereItShouldAndMeasured) {
  Picture picture(200, 60, kWhite);
  const double width = picture.text_width("Prediction", 16);
  EXPECT_GT(width, 60);
  EXPECT_LT(width, 110);
  picture.text({100, 20}, "Prediction", {16, kBlack, Align::right});
  EXPECT_GT(dark_pixels(picture, {100 - width, 4, width, 20}), 100);
  EXPECT_EQ(dark_pixels(picture, {101, 0, 99, 60}), 0);
  EXPECT_EQ(dark_pixels(picture, {0, 30, 200, 30}), 0);
  picture.text({100, 50}, "\xc3\xb6 \xc2\xb7", {16});  // UTF-8
  EXPECT_GT(dark_pixels(picture, {100, 30, 30, 30}), 15);
  EXPECT_DOUBLE_EQ(picture.text_width("", 16), 0);
}

TEST(Picture, TextUpwardsIsTallNotWide) {
  Picture picture(40, 120, kWhite);
  picture.text_upwards({25, 110}, "Prediction", {16});
  EXPECT_GT(dark_pixels(picture, {8, 20, 22, 92}), 100);
  EXPECT_EQ(dark_pixels(picture, {32, 0, 8, 120}), 0);
}

TEST(Picture, LinesSolidDashedAndDots) {
  Picture picture(60, 30, kWhite);
  const std::array<PicturePoint, 2> ends{{{0, 5.5}, {60, 5.5}}};
  picture.line(ends, {kBlack, 1});
  EXPECT_EQ(dark_pixels(picture, {0, 5, 60, 1}), 60);
  const std::array<PicturePoint, 2> lower{{{0, 15.5}, {60, 15.5}}};
  picture.line(lower, {kBlack, 1, true});
  EXPECT_GT(dark_pixels(picture, {0, 15, 60, 1}), 25);
  EXPECT_LT(dark_pixels(picture, {0, 15, 60, 1}), 50);
  picture.line(std::array<PicturePoint, 1>{{{30, 25}}}, {kBlack, 2});
  EXPECT_EQ(picture.at(30, 25), kBlack);
}

TEST(Picture, GreyKeepsItsPlace) {
  Picture picture(20, 10, kRed);
  const std::array<uint8_t, 2> halves{10, 250};
  picture.grey({0, 0, 20, 10}, halves, 2, 1);
  EXPECT_EQ(picture.at(1, 5), (Colour{10, 10, 10}));
  EXPECT_EQ(picture.at(18, 5), (Colour{250, 250, 250}));
}

TEST(Picture, OverlayTintsTheInsideAndOutlinesTheEdge) {
  // 5 x 5 voxels of class 1 in a 7 x 7 slice, with class 2 in the corner; 10 pixels a voxel.
  std::vector<uint8_t> classes(49);
  for (size_t y = 1; y < 6; ++y) {
    for (size_t x = 1; x < 6; ++x) classes[x + 7 * y] = 1;
  }
  classes[48] = 2;
  const std::array<Colour, 3> colours{kBlack, kRed, kBlue};
  Picture picture(70, 70, kWhite);
  const ClassSlice slice{classes, 7, 7};
  EXPECT_TRUE(slice.is_boundary(1, 1));
  EXPECT_FALSE(slice.is_boundary(2, 2));
  EXPECT_TRUE(slice.is_boundary(6, 6));
  EXPECT_FALSE(slice.is_boundary(0, 0));
  picture.overlay({0, 0, 70, 70}, slice, colours, 0.4);
  EXPECT_EQ(picture.at(5, 5), kWhite);
  EXPECT_EQ(picture.at(10, 35), kRed);  // the outline lies inside
  EXPECT_EQ(picture.at(59, 35), kRed);
  EXPECT_EQ(picture.at(35, 10), kRed);
  const Colour inside = picture.at(35, 35);
  EXPECT_NEAR(inside.red, 255 * 0.6 + 200 * 0.4, 2);
  EXPECT_NEAR(inside.blue, 255 * 0.6, 2);
  EXPECT_EQ(picture.at(60, 65), kBlue);
  EXPECT_NEAR(picture.at(65, 65).red, 255 * 0.6, 2);
}

}  // namespace
}  // namespace vg::apps
