// Scores of one prediction file against its reference.
#pragma once

#include <filesystem>
#include <string>

#include "apps/segmentation_scores.h"
#include "data/error.h"

namespace vg::apps {

/// Throws data::DataError if a file cannot be read, holds labels outside the schema, or if they differ in
/// size.
SubjectScores score_files(const std::string& id, const std::filesystem::path& predicted,
                          const std::filesystem::path& reference, const data::LabelSchema& schema,
                          const data::Warn& warn);

}  // namespace vg::apps
