#include "apps/segmentation_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

namespace vg::apps {
namespace {

const data::LabelSchema& schema() {
  return data::brats_edition(2020).schema;
}

SubjectScores score(const std::string& id, const std::vector<uint8_t>& reference,
                    const std::vector<uint8_t>& prediction) {
  ConfusionMatrix matrix(4);
  matrix.add(reference, prediction);
  return subject_scores(id, matrix, schema());
}

const Overlap& find(const SubjectScores& scores, const std::string& name) {
  for (const Overlap& overlap : scores.overlaps) {
    if (overlap.name == name) return overlap;
  }
  throw std::out_of_range(name);
}

// Classes 1, 2, 3 are the labels 1 (core), 2 (oedema), 4 (enhancing).
TEST(SegmentationScores, RegionsAreUnionsOfClasses) {
  const SubjectScores scores = score("a", {0, 0, 1, 1, 2, 2, 3, 3}, {0, 1, 1, 3, 2, 0, 3, 1});
  const Overlap& whole = find(scores, "WT");
  EXPECT_EQ(whole.reference, 6);
  EXPECT_EQ(whole.predicted, 6);
  EXPECT_EQ(whole.intersection, 5);
  EXPECT_DOUBLE_EQ(whole.dice(), 10.0 / 12);
  const Overlap& core = find(scores, "TC");
  EXPECT_EQ(core.reference, 4);
  EXPECT_EQ(core.predicted, 5);
  EXPECT_EQ(core.intersection, 4);
  EXPECT_DOUBLE_EQ(find(scores, "ET").dice(), 0.5);
  EXPECT_EQ(scores.overlaps.size(), 6u);
}

TEST(SegmentationScores, EmptyRegionsFollowTheStatedPolicy) {
  const SubjectScores both_empty = score("a", {0, 2}, {0, 2}), one_empty = score("b", {0, 2}, {3, 2}),
                      half = score("c", {3, 3}, {3, 0});
  EXPECT_TRUE(find(both_empty, "ET").empty());
  EXPECT_EQ(find(both_empty, "ET").dice(), 1);
  EXPECT_EQ(find(one_empty, "ET").dice(), 0);
  const auto mean = [](const std::vector<MeanScore>& means) {
    for (const MeanScore& m : means) {
      if (m.name == "ET") return m;
    }
    throw std::out_of_range("ET");
  };
  const std::vector<SubjectScores> subjects = {both_empty, one_empty, half};
  EXPECT_DOUBLE_EQ(mean(mean_scores(subjects, EmptyPolicy::one)).dice, (1 + 0 + 2.0 / 3) / 3);
  EXPECT_DOUBLE_EQ(mean(mean_scores(subjects, EmptyPolicy::skip)).dice, (0 + 2.0 / 3) / 2);
  EXPECT_EQ(mean(mean_scores(subjects, EmptyPolicy::skip)).subjects, 2);
  EXPECT_EQ(mean(mean_scores(subjects, EmptyPolicy::skip)).empty_subjects, 1);
  // No subject left: the mean is NaN, shown as null, never a number.
  const auto json = scores_to_json({both_empty}, schema(), EmptyPolicy::skip);
  EXPECT_TRUE(json.at("mean").at("ET").is_null());
  EXPECT_EQ(json.at("counted").at("ET").at("subjects"), 0);
  EXPECT_TRUE(json.at("mean_of_regions").is_null());
}

// tests/golden/make_metrics.py
TEST(SegmentationScores, WeightedDiceIsTorchmetrics) {
  std::ifstream file(VG_GOLDEN_DIR "/metrics.json");
  const auto classes = [](const nlohmann::json& digits) {
    std::vector<uint8_t> result;
    for (const char digit : digits.get<std::string>()) result.push_back(static_cast<uint8_t>(digit - '0'));
    return result;
  };
  const auto cases = nlohmann::json::parse(file);
  ASSERT_EQ(cases.size(), 4u);
  for (const auto& entry : cases) {
    const SubjectScores scores = score("a", classes(entry.at("reference")), classes(entry.at("prediction")));
    EXPECT_NEAR(scores.weighted_dice, entry.at("weighted_dice").get<double>(), 1e-6);
  }
}

TEST(SegmentationScores, WithoutTumourWeightedDiceIsThePlainMean) {
  EXPECT_DOUBLE_EQ(score("a", {0, 0}, {0, 0}).weighted_dice, 1);
  EXPECT_DOUBLE_EQ(score("a", {0, 0}, {0, 3}).weighted_dice, 2.0 / 3);
}

TEST(SegmentationScores, DiceLossOfTheSeedCountsTheBackgroundAndSmoothsByOne) {
  EXPECT_DOUBLE_EQ(score("a", {0, 1, 2, 3}, {0, 1, 2, 3}).dice_loss, 0);
  EXPECT_DOUBLE_EQ(score("a", {0, 0, 1, 2}, {0, 0, 1, 1}).dice_loss,
                   1 - (5.0 / 5 + 3.0 / 4 + 1.0 / 2 + 1.0) / 4);
  EXPECT_DOUBLE_EQ(score("a", {0, 0, 1, 2}, {0, 0, 1, 0}).dice_loss,
                   1 - (5.0 / 6 + 3.0 / 3 + 1.0 / 2 + 1.0) / 4);
  const auto json =
      scores_to_json({score("a", {0, 1}, {0, 1}), score("b", {0, 1}, {0, 0})}, schema(), EmptyPolicy::one);
  EXPECT_DOUBLE_EQ(json.at("mean_weighted_dice"), 0.5);
  EXPECT_DOUBLE_EQ(json.at("subjects").at(0).at("dice_loss"), 0);
}

TEST(SegmentationScores, TableNamesSubjectsCountsAndPolicy) {
  const std::string table = scores_table({score("subject_1", {0, 3}, {0, 3})}, schema(), EmptyPolicy::one);
  for (const char* part :
       {"subject_1", "WT", "TC", "ET", "1.0000", "mean of regions", "counts as Dice 1", "n (empty)"}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  }
}

TEST(SegmentationScores, WrongInputIsAnError) {
  ConfusionMatrix matrix(4);
  EXPECT_THROW(matrix.add(std::vector<uint8_t>{0, 1}, std::vector<uint8_t>{0}), std::invalid_argument);
  EXPECT_THROW(matrix.add(std::vector<uint8_t>{4}, std::vector<uint8_t>{0}), std::invalid_argument);
  EXPECT_THROW(mean_scores({}, EmptyPolicy::one), std::invalid_argument);
}

}  // namespace
}  // namespace vg::apps
