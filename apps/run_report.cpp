#include "apps/run_report.h"

#include <algorithm>
#include <cstdio>

#include "apps/figures.h"
#include "apps/predictor.h"
#include "apps/score_files.h"
#include "data/nifti_io.h"
#include "engine/atomic_file.h"

namespace vg::apps {

namespace {

namespace fs = std::filesystem;

fs::path prediction_file(const fs::path& run, const std::string& id) {
  return run / "predictions" / (id + ".nii.gz");
}

std::vector<SubjectScores> predict_and_score(const fs::path& run,
                                             const std::vector<data::SubjectFiles>& subjects,
                                             const data::LabelSchema& schema, Device device, DType precision,
                                             Terminal& terminal) {
  const data::Warn warn = [&](const std::string& line) { terminal.warn(line); };
  Predictor predictor(load_model_file(run / "best.safetensors"), device, precision);
  const std::string& modality = predictor.description().channels.front();
  fs::create_directories(run / "predictions");
  Pace pace(static_cast<int64_t>(subjects.size()));
  std::vector<SubjectScores> scores;
  for (const data::SubjectFiles& subject : subjects) {
    const fs::path file = prediction_file(run, subject.id);
    data::write_label_map(file, predictor.predict(subject, warn).labels,
                          data::read_nifti_template(subject.images.at(modality)));
    scores.push_back(score_files(subject.id, file, subject.segmentation.value(), schema, warn));
    pace.advance();
    terminal.status("evaluate " + pace.text() + "  " + subject.id);
  }
  terminal.end_status();
  return scores;
}

double region_dice(const SubjectScores& subject, const data::LabelSchema& schema) {
  return mean_region_dice(mean_scores({subject}, EmptyPolicy::one), schema);
}

// Indices of the best, the median and the worst subject, each once.
std::vector<std::pair<std::string, size_t>> shown_subjects(const std::vector<SubjectScores>& scores,
                                                           const data::LabelSchema& schema) {
  std::vector<size_t> order(scores.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return region_dice(scores[a], schema) > region_dice(scores[b], schema);
  });
  std::vector<std::pair<std::string, size_t>> shown = {{"best", order.front()}};
  if (order.size() > 2) shown.emplace_back("median", order[order.size() / 2]);
  if (order.size() > 1) shown.emplace_back("worst", order.back());
  return shown;
}

}  // namespace

void write_run_report(const fs::path& run, const std::vector<data::SubjectFiles>& subjects,
                      const data::BratsEdition& edition, Device device, DType precision, Terminal& terminal) {
  const std::vector<SubjectScores> scores =
      predict_and_score(run, subjects, edition.schema, device, precision, terminal);
  write_file_atomically(run / "evaluation.json",
                        scores_to_json(scores, edition.schema, EmptyPolicy::one).dump(2) + "\n");
  if (!terminal.quiet()) std::printf("%s", scores_table(scores, edition.schema, EmptyPolicy::one).c_str());
  fs::create_directories(run / "figures");
  for (const auto& [rank, index] : shown_subjects(scores, edition.schema)) {
    const data::SubjectFiles& subject = subjects[index];
    const auto flair = subject.images.find("flair");
    const auto image = flair == subject.images.end() ? subject.images.begin() : flair;
    terminal.status("figures of " + subject.id);
    write_figures({subject.id, prediction_file(run, subject.id), subject.segmentation, image->second},
                  run / "figures" / (rank + "_" + subject.id), {}, edition.schema,
                  [&](const std::string& line) { terminal.warn(line); });
  }
  terminal.end_status();
}

}  // namespace vg::apps
