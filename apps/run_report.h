// What a finished training run leaves beside its weights: predictions of the validation subjects on their
// original grid, their scores, and figures of the best, the median and the worst of them.
#pragma once

#include <filesystem>

#include "apps/segmentation_scores.h"
#include "apps/terminal.h"
#include "data/brats_dataset.h"
#include "engine/tensor.h"

namespace vg::apps {

/// Writes to the run's folder, from its best.safetensors:
///   predictions/ID.nii.gz  label maps of `subjects`
///   evaluation.json        as of `voxgrad evaluate --json`
///   figures/RANK_ID.png, .gif, .html for RANK = best, median, worst by the mean Dice of the regions
/// and prints the table of scores. Throws std::exception with one line.
void write_run_report(const std::filesystem::path& run, const std::vector<data::SubjectFiles>& subjects,
                      const data::BratsEdition& edition, Device device, DType precision, Terminal& terminal);

}  // namespace vg::apps
