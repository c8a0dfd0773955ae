#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include "apps/cli_support.h"
#include "apps/label_files.h"
#include "apps/score_files.h"
#include "apps/terminal.h"
#include "data/nifti_io.h"
#include "data/split.h"
#include "engine/atomic_file.h"

namespace vg::apps {

namespace {

namespace fs = std::filesystem;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size() && i < 5; ++i) text += (i == 0 ? "" : ", ") + words[i];
  return words.size() > 5 ? text + " and " + std::to_string(words.size() - 5) + " more" : text;
}

struct EvaluateCommand {
  std::string predictions, references, json, split_file, part = "validation", empty = "one";
  int year = 2020;
  bool quiet = false;

  // References may be a data set (ID/ID_seg.nii.gz) or a folder of ID.nii.gz.
  [[nodiscard]] std::map<std::string, fs::path> reference_files() const {
    auto files = label_files(references, data::brats_edition(year).segmentation_suffix);
    if (files.empty()) files = label_files(references, "");
    if (files.empty()) throw std::runtime_error(references + ": holds no label maps (.nii, .nii.gz)");
    return files;
  }

  void check_names(const std::map<std::string, fs::path>& predicted,
                   const std::map<std::string, fs::path>& known) const {
    std::vector<std::string> unmatched, ids;
    for (const auto& [id, path] : predicted) {
      if (!known.contains(id)) unmatched.push_back(id);
    }
    if (!unmatched.empty())
      throw std::runtime_error(predictions + ": no reference in " + references + " for " + joined(unmatched));
    if (split_file.empty()) return;
    for (const auto& [id, path] : known) ids.push_back(id);
    const data::Split split = data::read_split(split_file, ids);
    for (const std::string& id : part == "train" ? split.train : split.validation) {
      if (!predicted.contains(id)) unmatched.push_back(id);
    }
    if (!unmatched.empty())
      throw std::runtime_error(predictions + ": no prediction for " + joined(unmatched) + " of " +
                               split_file);
  }

  void run() const {
    Terminal terminal(quiet);
    const data::LabelSchema& schema = data::brats_edition(year).schema;
    const auto predicted = prediction_files(predictions), known = reference_files();
    check_names(predicted, known);
    std::vector<SubjectScores> subjects;
    Pace pace(static_cast<int64_t>(predicted.size()));
    for (const auto& [id, path] : predicted) {
      subjects.push_back(
          score_files(id, path, known.at(id), schema, [&](const std::string& line) { terminal.warn(line); }));
      pace.advance();
      terminal.status("evaluate " + pace.text() + "  " + id);
    }
    terminal.end_status();
    const EmptyPolicy policy = empty == "one" ? EmptyPolicy::one : EmptyPolicy::skip;
    if (!quiet) std::printf("%s", scores_table(subjects, schema, policy).c_str());
    if (!json.empty()) write_file_atomically(json, scores_to_json(subjects, schema, policy).dump(2) + "\n");
  }
};

}  // namespace

void register_evaluate(CLI::App& app, int& /*exit_code*/) {
  const auto command = std::make_shared<EvaluateCommand>();
  CLI::App* sub = app.add_subcommand(
      "evaluate", "Dice of predictions against references, per class and region (WT, TC, ET)");
  sub->add_option("--predictions", command->predictions, "folder of ID.nii.gz")->required();
  sub->add_option("--references", command->references,
                  "a data set (ID/ID_seg.nii.gz), or a folder of ID.nii.gz")
      ->required();
  sub->add_option("--json", command->json, "also write the scores to this file");
  sub->add_option("--split-file", command->split_file,
                  "fail unless every subject of one part of this split is predicted");
  sub->add_option("--part", command->part, "which part")
      ->check(CLI::IsMember({"train", "validation"}))
      ->capture_default_str();
  sub->add_option("--year", command->year, "BraTS edition of the labels")->capture_default_str();
  sub->add_option("--empty", command->empty,
                  "a region empty in both counts as Dice `one` (BraTS), or is left out of the mean (`skip`)")
      ->check(CLI::IsMember({"one", "skip"}))
      ->capture_default_str();
  sub->add_flag("-q,--quiet", command->quiet, "print nothing but errors and warnings");
  sub->footer(
      "Examples:\n"
      "  voxgrad evaluate --predictions predictions --references data\n"
      "  voxgrad evaluate --predictions predictions --references data --split-file runs/a/split.json --json "
      "scores.json");
  sub->callback([command] { command->run(); });
}

}  // namespace vg::apps
