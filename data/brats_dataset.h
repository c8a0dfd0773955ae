// Data sets in the layouts of BraTS: finding subjects, and loading one for the network.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/error.h"
#include "data/label_schema.h"
#include "data/preprocessing.h"
#include "data/volume.h"

namespace vg::data {

/// Training (and validation) needs labels and refuses doubtful voxels; prediction takes what it can and says
/// so.
enum class Purpose : uint8_t { training, prediction };

/// The order of the seed, and of its weights.
const std::vector<std::string>& default_channels();

/// Throws std::invalid_argument if a channel is unknown to the edition or named twice, or there is none.
void check_channels(const std::vector<std::string>& channels, const BratsEdition& edition);

/// The files of one subject.
struct SubjectFiles {
  std::string id;
  std::filesystem::path folder;
  std::map<std::string, std::filesystem::path> images;  ///< by modality: "t1", "t2", "t1ce", "flair"
  std::optional<std::filesystem::path> segmentation;
};

struct DatasetOptions {
  int year = 2020;  ///< which BraTS edition's file names and labels
  std::vector<std::string> channels = default_channels();
  Purpose purpose = Purpose::training;
};

/// Subjects sorted by id, and one line for each that was left out.
struct SubjectList {
  std::vector<SubjectFiles> subjects;
  std::vector<std::string> skipped;

  std::vector<std::string> ids() const;
  /// Throws DataError if there is no such subject.
  const SubjectFiles& find(const std::string& id) const;
};

/// Finds the subjects in `folder` and at most three levels below: groups of files id + suffix + ".nii.gz" or
/// ".nii" of the edition, e.g. BraTS20_Training_001/BraTS20_Training_001_t1ce.nii.gz. The folder may be a
/// subject's own.
///
/// A subject without a needed modality (or, for training, without its segmentation) is skipped with a warning
/// in training and is an error in prediction. A file present both as .nii and .nii.gz is read from the
/// latter, with a warning. Throws DataError for a folder that cannot be read, an id found in two folders, and
/// an empty data set (naming the year whose files were found instead, if so).
SubjectList list_subjects(const std::filesystem::path& folder, const DatasetOptions& options = {},
                          const Warn& warn = {});

/// One subject, ready for the network. D, H, W are i, j, k of `geometry` (see network_order.h).
struct Sample {
  std::string id;
  std::array<int64_t, 3> extent{};  ///< D, H, W
  int64_t channels = 0;
  std::vector<float> image;     ///< [C, D, H, W]
  std::vector<uint8_t> labels;  ///< [D, H, W] class indices; empty without segmentation
  Geometry geometry;            ///< after preprocessing
  Geometry original;            ///< of the files; Preprocessing::invert takes it

  int64_t voxels() const { return extent[0] * extent[1] * extent[2]; }
  size_t bytes() const { return image.size() * sizeof(float) + labels.size(); }
};

/// Reads, checks and preprocesses one subject; files are read in parallel where threads are to be had.
///
/// Throws DataError if files of the subject have other extents or lie elsewhere (by more than 1e-3 mm; less,
/// but more than the rounding of float32, warns), naming both; for voxels that are NaN or infinite, with
/// their number (in prediction they become 0 with a warning); for labels outside the schema; for a missing
/// modality or, in training, segmentation. Warns of a constant volume, and of two modalities with the same
/// voxels.
Sample load_subject(const SubjectFiles& subject, const std::vector<std::string>& channels,
                    const Preprocessing& preprocessing, const LabelSchema& schema,
                    Purpose purpose = Purpose::training, const Warn& warn = {});

}  // namespace vg::data
