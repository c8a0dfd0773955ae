#include "apps/segmentation_scores.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "kernels/common/check.h"

namespace vg::apps {

namespace {

Overlap region_overlap(const ConfusionMatrix& matrix, const std::string& name,
                       const std::vector<uint8_t>& members) {
  const auto in_region = [&](int64_t c) {
    return std::find(members.begin(), members.end(), c) != members.end();
  };
  Overlap overlap;
  overlap.name = name;
  for (int64_t reference = 0; reference < matrix.classes(); ++reference) {
    for (int64_t prediction = 0; prediction < matrix.classes(); ++prediction) {
      const int64_t count = matrix.count(reference, prediction);
      if (in_region(reference)) overlap.reference += count;
      if (in_region(prediction)) overlap.predicted += count;
      if (in_region(reference) && in_region(prediction)) overlap.intersection += count;
    }
  }
  return overlap;
}

std::string cell(double value) {
  char text[16];
  std::snprintf(text, sizeof text, "%8.4f", value);
  return std::isnan(value) ? "       -" : text;
}

std::string padded(const std::string& text, size_t width, bool left) {
  const std::string fill(text.size() < width ? width - text.size() : 0, ' ');
  return left ? text + fill : fill + text;
}

double mean_of(const std::vector<SubjectScores>& subjects, double SubjectScores::*score) {
  double sum = 0;
  for (const SubjectScores& subject : subjects) sum += subject.*score;
  return sum / static_cast<double>(subjects.size());
}

const char* policy_text(EmptyPolicy policy) {
  return policy == EmptyPolicy::one ? "empty in reference and prediction counts as Dice 1"
                                    : "empty in reference and prediction is left out of the mean";
}

}  // namespace

void ConfusionMatrix::add(std::span<const uint8_t> reference, std::span<const uint8_t> prediction) {
  kernels::require(reference.size() == prediction.size(), "confusion matrix: ", reference.size(),
                   " reference voxels and ", prediction.size(), " predicted ones");
  for (size_t i = 0; i < reference.size(); ++i) {
    kernels::require(reference[i] < classes_ && prediction[i] < classes_, "confusion matrix: class ",
                     static_cast<int>(std::max(reference[i], prediction[i])), ", expected less than ",
                     classes_);
    ++counts_[static_cast<size_t>(reference[i] * classes_ + prediction[i])];
  }
}

std::vector<Overlap> overlaps(const ConfusionMatrix& matrix, const data::LabelSchema& schema) {
  std::vector<Overlap> result;
  for (size_t c = 1; c < schema.labels.size(); ++c) {
    result.push_back(region_overlap(matrix, schema.labels[c].name, {static_cast<uint8_t>(c)}));
  }
  for (size_t r = 0; r < schema.regions.size(); ++r) {
    result.push_back(region_overlap(matrix, schema.regions[r].name, schema.region_classes(r)));
  }
  return result;
}

double weighted_dice(const ConfusionMatrix& matrix) {
  double sum = 0, dice_of_all = 0, support = 0;
  for (int64_t c = 1; c < matrix.classes(); ++c) {
    const Overlap overlap = region_overlap(matrix, "", {static_cast<uint8_t>(c)});
    sum += overlap.dice() * static_cast<double>(overlap.reference);
    dice_of_all += overlap.dice();
    support += static_cast<double>(overlap.reference);
  }
  return support > 0 ? sum / support : dice_of_all / static_cast<double>(matrix.classes() - 1);
}

double hard_dice_loss(const ConfusionMatrix& matrix) {
  double sum = 0;
  for (int64_t c = 0; c < matrix.classes(); ++c) {
    const Overlap overlap = region_overlap(matrix, "", {static_cast<uint8_t>(c)});
    sum += (2 * static_cast<double>(overlap.intersection) + 1) /
           (static_cast<double>(overlap.predicted + overlap.reference) + 1);
  }
  return 1 - sum / static_cast<double>(matrix.classes());
}

SubjectScores subject_scores(const std::string& id, const ConfusionMatrix& matrix,
                             const data::LabelSchema& schema) {
  return {id, overlaps(matrix, schema), weighted_dice(matrix), hard_dice_loss(matrix)};
}

std::vector<MeanScore> mean_scores(const std::vector<SubjectScores>& subjects, EmptyPolicy policy) {
  kernels::require(!subjects.empty(), "mean_scores: no subjects");
  std::vector<MeanScore> means;
  for (size_t i = 0; i < subjects.front().overlaps.size(); ++i) {
    MeanScore mean;
    mean.name = subjects.front().overlaps[i].name;
    double sum = 0;
    for (const SubjectScores& subject : subjects) {
      const Overlap& overlap = subject.overlaps[i];
      if (overlap.empty()) ++mean.empty_subjects;
      if (overlap.empty() && policy == EmptyPolicy::skip) continue;
      sum += overlap.dice();
      ++mean.subjects;
    }
    mean.dice = mean.subjects == 0 ? std::numeric_limits<double>::quiet_NaN()
                                   : sum / static_cast<double>(mean.subjects);
    means.push_back(mean);
  }
  return means;
}

double mean_region_dice(const std::vector<MeanScore>& means, const data::LabelSchema& schema) {
  double sum = 0;
  for (const data::Region& region : schema.regions) {
    const auto it =
        std::find_if(means.begin(), means.end(), [&](const MeanScore& m) { return m.name == region.name; });
    kernels::require(it != means.end(), "mean_region_dice: no score of region ", region.name);
    sum += it->dice;
  }
  return sum / static_cast<double>(schema.regions.size());
}

double mean_weighted_dice(const std::vector<SubjectScores>& subjects) {
  return mean_of(subjects, &SubjectScores::weighted_dice);
}

double mean_dice_loss(const std::vector<SubjectScores>& subjects) {
  return mean_of(subjects, &SubjectScores::dice_loss);
}

nlohmann::ordered_json scores_to_json(const std::vector<SubjectScores>& subjects,
                                      const data::LabelSchema& schema, EmptyPolicy policy) {
  nlohmann::ordered_json json;
  json["empty_policy"] = policy_text(policy);
  for (const SubjectScores& subject : subjects) {
    nlohmann::ordered_json entry;
    entry["id"] = subject.id;
    for (const Overlap& overlap : subject.overlaps) {
      entry["dice"][overlap.name] = overlap.dice();
      entry["voxels"][overlap.name] = {{"intersection", overlap.intersection},
                                       {"predicted", overlap.predicted},
                                       {"reference", overlap.reference}};
    }
    entry["weighted_dice"] = subject.weighted_dice;
    entry["dice_loss"] = subject.dice_loss;
    json["subjects"].push_back(entry);
  }
  const std::vector<MeanScore> means = mean_scores(subjects, policy);
  for (const MeanScore& mean : means) {
    json["mean"][mean.name] =
        std::isnan(mean.dice) ? nlohmann::ordered_json() : nlohmann::ordered_json(mean.dice);
    json["counted"][mean.name] = {{"subjects", mean.subjects}, {"empty", mean.empty_subjects}};
  }
  json["mean_weighted_dice"] = mean_weighted_dice(subjects);
  json["mean_dice_loss"] = mean_dice_loss(subjects);
  const double regions = mean_region_dice(means, schema);
  json["mean_of_regions"] = std::isnan(regions) ? nlohmann::ordered_json() : nlohmann::ordered_json(regions);
  return json;
}

std::string scores_table(const std::vector<SubjectScores>& subjects, const data::LabelSchema& schema,
                         EmptyPolicy policy) {
  const std::vector<MeanScore> means = mean_scores(subjects, policy);
  size_t id_width = 10;
  for (const SubjectScores& subject : subjects) id_width = std::max(id_width, subject.id.size());
  const auto width = [](const std::string& name) { return std::max<size_t>(8, name.size()); };

  std::string table = padded("Dice", id_width, true);
  for (const MeanScore& mean : means) table += "  " + padded(mean.name, width(mean.name), false);
  table += "  weighted  dice loss";
  for (const SubjectScores& subject : subjects) {
    table += "\n" + padded(subject.id, id_width, true);
    for (const Overlap& overlap : subject.overlaps)
      table += "  " + padded(cell(overlap.dice()), width(overlap.name), false);
    table += "  " + cell(subject.weighted_dice) + "  " + padded(cell(subject.dice_loss), 9, false);
  }
  table += "\n" + padded("mean", id_width, true);
  std::string counts = "\n" + padded("n (empty)", id_width, true);
  for (const MeanScore& mean : means) {
    table += "  " + padded(cell(mean.dice), width(mean.name), false);
    counts += "  " + padded(std::to_string(mean.subjects) + " (" + std::to_string(mean.empty_subjects) + ")",
                            width(mean.name), false);
  }
  table +=
      "  " + cell(mean_weighted_dice(subjects)) + "  " + padded(cell(mean_dice_loss(subjects)), 9, false);
  table += counts + "\nmean of regions " + cell(mean_region_dice(means, schema)) + "; " +
           policy_text(policy) + "\n";
  return table;
}

}  // namespace vg::apps
