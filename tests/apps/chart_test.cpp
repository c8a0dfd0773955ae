#include "apps/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "apps/training_curves.h"
#include "support/expect_error.h"
#include "support/picture_files.h"
#include "support/temporary_folder.h"

namespace vg::apps {
namespace {

constexpr Colour kRed{220, 0, 0}, kBlue{0, 0, 220};

struct Extent {
  int64_t count = 0, left = 100000, right = -1, top = 100000, bottom = -1;
};

// Where pixels of a colour are.
template <class At>
Extent find_colour(int64_t width, int64_t height, const At& is_colour) {
  Extent found;
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      if (!is_colour(x, y)) continue;
      ++found.count;
      found.left = std::min(found.left, x);
      found.right = std::max(found.right, x);
      found.top = std::min(found.top, y);
      found.bottom = std::max(found.bottom, y);
    }
  }
  return found;
}

Extent find_in_plot(const Picture& picture, Colour colour) {
  // The legend, in the lowest 40 pixels, has the colours too.
  return find_colour(picture.width(), picture.height() - 40,
                     [&](int64_t x, int64_t y) { return picture.at(x, y) == colour; });
}

TEST(NiceTicks, AreRoundAndInside) {
  using Ticks = std::vector<double>;
  const auto expect_ticks = [](const Ticks& found, const Ticks& expected) {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-12);
  };
  expect_ticks(nice_ticks(0, 1, 7), {0, 0.2, 0.4, 0.6, 0.8, 1});
  expect_ticks(nice_ticks(1.34, 2.18, 7), {1.4, 1.6, 1.8, 2.0});
  expect_ticks(nice_ticks(0, 0.7, 8), {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7});
  expect_ticks(nice_ticks(-30, 1200, 5), {0, 500, 1000});
  expect_ticks(nice_ticks(1, 3, 10, true), {1, 2, 3});
  expect_ticks(nice_ticks(1, 100, 10, true), {20, 40, 60, 80, 100});
  for (double low : {-3.7, 0.0, 1e-7, 812.5}) {
    for (double width : {1e-9, 0.3, 7.0, 12345.0}) {
      const Ticks ticks = nice_ticks(low, low + width, 6);
      EXPECT_LE(ticks.size(), 6u) << low << ' ' << width;
      EXPECT_GE(ticks.size(), 2u) << low << ' ' << width;
    }
  }
}

TEST(Chart, LinesRunWhereTheirValuesLie) {
  Chart chart{"Title", "epoch", {}, std::pair{0.0, 1.0}, true};
  chart.series.push_back({"up", {{1, 0.0}, {2, 0.5}, {3, 1.0}}, {kRed, 3}});
  chart.series.push_back({"level", {{1, 0.5}, {2, 0.5}, {3, 0.5}}, {kBlue, 3}});
  Picture picture(400, 300, kWhite);
  draw_chart(picture, {0, 0, 400, 300}, chart);
  const Extent up = find_in_plot(picture, kRed), level = find_in_plot(picture, kBlue);
  EXPECT_LT(up.top, level.top);
  EXPECT_GT(up.bottom, level.bottom);
  EXPECT_NEAR(static_cast<double>(up.top + up.bottom) / 2, static_cast<double>(level.top + level.bottom) / 2,
              3);
  const auto row_at = [&](int64_t x) {
    int64_t y = up.top;
    while (!(picture.at(x, y) == kRed)) ++y;
    return y;
  };
  EXPECT_GT(row_at(up.left + 2), row_at(up.right - 2) + 100) << "larger values are higher";
  EXPECT_LE(level.bottom - level.top, 4);
  EXPECT_GT(level.right - level.left, 300);
}

TEST(Chart, ValuesThatAreNotFiniteInterruptTheLine) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  Chart chart{"Title", "epoch", {}, std::pair{0.0, 1.0}, true};
  chart.series.push_back({"s", {{1, 0.5}, {2, 0.5}, {3, nan}, {4, 0.5}, {5, 0.5}}, {kRed, 3}});
  Picture picture(400, 300, kWhite);
  draw_chart(picture, {0, 0, 400, 300}, chart);
  const Extent line = find_in_plot(picture, kRed);
  const int64_t middle = (line.left + line.right) / 2;
  for (int64_t y = line.top; y <= line.bottom; ++y) EXPECT_FALSE(picture.at(middle, y) == kRed);
}

TEST(Chart, NothingOrOnePointIsStillAChart) {
  Picture picture(400, 300, kWhite);
  draw_chart(picture, {0, 0, 400, 300}, {"Empty", "epoch", {}, std::nullopt, true});
  Chart one{"One", "epoch", {}, std::nullopt, true};
  one.series.push_back({"s", {{1, 0.25}}, {kRed, 3}});
  draw_chart(picture, {0, 0, 400, 300}, one);
  EXPECT_GT(find_in_plot(picture, kRed).count, 10);
}

class TrainingCurves : public testing::Test {
 protected:
  void write(const std::string& text) const { std::ofstream(csv) << text; }
  [[nodiscard]] std::string bytes() const {
    std::ifstream stream(png, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  test::TemporaryFolder folder;
  std::filesystem::path csv = folder / "epochs.csv", png = folder / "curves.png";
};

TEST_F(TrainingCurves, LossAtTheLeftAndDiceAtTheRight) {
  write(
      "epoch,step,train_loss,validation_loss,lr,seconds,dice_enhancing tumour,dice_WT,dice_TC,dice_ET\n"
      "1,10,2.0,1.9,0.001,5,0.1,0.5,0.3,0.1\n2,20,1.5,1.4,0.001,5,,0.8,0.6,\n3,30,1.2,1.1,0.001,5,0.3,0.9,0."
      "7,0.3\n"
      "4,40,1.1");  // torn
  const NumberTable table = read_epochs_csv(csv);
  EXPECT_EQ(table.find("dice_WT")->size(), 3u);
  EXPECT_TRUE(std::isnan(table.find("dice_ET")->at(1)));
  EXPECT_EQ(table.find("none"), nullptr);
  write_training_curves(csv, png);
  const std::string first = bytes();
  const test::DecodedPng picture = test::decode_png(first);
  const auto of_colour = [&](const test::Rgb& colour) {
    return find_colour(picture.width, picture.height,
                       [&](int64_t x, int64_t y) { return picture.at(x, y) == colour; });
  };
  const Extent training = of_colour({0, 114, 178}), whole = of_colour({0, 158, 115});
  EXPECT_GT(training.count, 100);
  EXPECT_GT(whole.count, 100);
  EXPECT_GT(whole.left, picture.width / 2);
  write_training_curves(csv, png);
  EXPECT_EQ(bytes(), first) << "the same rows give the same bytes";
}

TEST_F(TrainingCurves, ASingleEpochAndDiceAlone) {
  write("epoch,dice_WT\n1,0.5\n");
  write_training_curves(csv, png);
  EXPECT_EQ(test::decode_png(bytes()).width, 640 + 2 * 24);
}

TEST_F(TrainingCurves, FilesThatAreNoCurves) {
  const auto expect = [&](std::initializer_list<std::string> parts) {
    test::expect_error<std::runtime_error>([&] { write_training_curves(csv, png); }, parts);
    EXPECT_FALSE(std::filesystem::exists(png));
  };
  expect({"epochs.csv", "cannot be read"});
  write("");
  expect({"epochs.csv", "epoch"});
  write("step,loss\n1,2\n");
  expect({"epochs.csv", "step,loss", "\"epoch\""});
  write("epoch,train_loss\n");
  expect({"epochs.csv", "no rows"});
  write("epoch,train_loss\n1,2\n2\n");
  expect({"epochs.csv", "line 3", "1", "2"});
  write("epoch,step\n1,2\n");
  expect({"epochs.csv", "train_loss"});
}

}  // namespace
}  // namespace vg::apps
