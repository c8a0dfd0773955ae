// Dice of a segmentation, per class and per region, from one confusion matrix.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/label_schema.h"

namespace vg::apps {

/// Voxels by class of the reference and class of the prediction.
class ConfusionMatrix {
 public:
  explicit ConfusionMatrix(int64_t classes)
      : classes_(classes), counts_(static_cast<size_t>(classes * classes)) {}
  /// Adds voxels. Both spans hold class indices below the number of classes and have the same length; throws
  /// std::invalid_argument otherwise.
  void add(std::span<const uint8_t> reference, std::span<const uint8_t> prediction);
  [[nodiscard]] int64_t count(int64_t reference, int64_t prediction) const {
    return counts_[static_cast<size_t>(reference * classes_ + prediction)];
  }
  [[nodiscard]] int64_t classes() const { return classes_; }

 private:
  int64_t classes_;
  std::vector<int64_t> counts_;
};

/// One class or region of one subject.
struct Overlap {
  std::string name;
  int64_t intersection = 0, predicted = 0, reference = 0;

  /// True if neither the reference nor the prediction has a voxel of it: then there is nothing to measure.
  [[nodiscard]] bool empty() const { return predicted + reference == 0; }
  /// 2 |A and B| / (|A| + |B|); 1 if both are empty (BraTS' convention), 0 if just one is.
  [[nodiscard]] double dice() const {
    return empty() ? 1 : 2 * static_cast<double>(intersection) / static_cast<double>(predicted + reference);
  }
};

/// The schema's foreground classes, then its regions.
std::vector<Overlap> overlaps(const ConfusionMatrix& matrix, const data::LabelSchema& schema);

/// Dice of the foreground classes, each weighted by its share of the reference's foreground: torchmetrics'
/// DiceScore(average="weighted", include_background=False) of one sample. Of a reference without foreground
/// the plain mean of the classes (torchmetrics 1.6 gives their sum).
double weighted_dice(const ConfusionMatrix& matrix);

/// 1 - the mean over all classes, background included, of (2 |A and B| + 1) / (|A| + |B| + 1): the seed's
/// Dice loss, of a segmentation instead of probabilities.
double hard_dice_loss(const ConfusionMatrix& matrix);

struct SubjectScores {
  std::string id;
  std::vector<Overlap> overlaps;
  double weighted_dice = 0, dice_loss = 0;  ///< weighted_dice() and hard_dice_loss()
};
SubjectScores subject_scores(const std::string& id, const ConfusionMatrix& matrix,
                             const data::LabelSchema& schema);

/// Mean Dice of one class or region over subjects.
struct MeanScore {
  std::string name;
  double dice = 0;
  int64_t subjects = 0;        ///< over which the mean was taken
  int64_t empty_subjects = 0;  ///< where neither reference nor prediction had it
};

/// What to do with subjects where a class or region is empty in reference and prediction.
enum class EmptyPolicy : uint8_t {
  one,  ///< they count with Dice 1, as BraTS scores them
  skip  ///< they are left out of the mean
};

/// Means over subjects, in the order of `overlaps`. With `skip` and no subject left the mean is NaN.
std::vector<MeanScore> mean_scores(const std::vector<SubjectScores>& subjects, EmptyPolicy policy);

/// The mean of the schema's regions (WT, TC, ET).
double mean_region_dice(const std::vector<MeanScore>& means, const data::LabelSchema& schema);

double mean_weighted_dice(const std::vector<SubjectScores>& subjects);
double mean_dice_loss(const std::vector<SubjectScores>& subjects);

/// {"empty_policy", "subjects": [{"id", "dice": {...}, "voxels": {...}}], "mean": {...}, "counted": {...}}
nlohmann::ordered_json scores_to_json(const std::vector<SubjectScores>& subjects,
                                      const data::LabelSchema& schema, EmptyPolicy policy);

/// A table for people: a row for each subject and one for the mean.
std::string scores_table(const std::vector<SubjectScores>& subjects, const data::LabelSchema& schema,
                         EmptyPolicy policy);

}  // namespace vg::apps
