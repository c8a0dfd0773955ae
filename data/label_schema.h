// What labels and files mean in each year of the BraTS challenge: one table of data. Nothing here is guessed
// from what a file holds.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/error.h"
#include "data/volume.h"

namespace vg::data {

/// A label value in files and what it stands for. Its position in LabelSchema::labels is the class index in
/// the network.
struct LabelMeaning {
  uint8_t value;
  std::string name;
};

/// A region that the challenge scores: a union of labels.
struct Region {
  std::string name;  ///< "WT", "TC", "ET", "RC"
  std::string meaning;
  std::vector<uint8_t> labels;  ///< values in files
};

/// Which values a label map may hold. Class 0 is always the background.
struct LabelSchema {
  std::string name;
  std::vector<LabelMeaning> labels;
  std::vector<Region> regions;

  int64_t classes() const { return static_cast<int64_t>(labels.size()); }
  /// Class indices of region `index`.
  std::vector<uint8_t> region_classes(size_t index) const;
};

/// A modality: its name in voxgrad and how files of the edition call it.
struct ModalitySuffix {
  std::string modality;  ///< "t1", "t2", "t1ce", "flair"
  std::string suffix;    ///< "_t1ce" or "-t1c": subject + suffix + ".nii.gz" (or ".nii")
};

/// A group of BraTS years with the same files and labels.
struct BratsEdition {
  std::string name;  ///< "2018-2020"
  int first_year, last_year;
  std::vector<ModalitySuffix> modalities;
  std::string segmentation_suffix;
  LabelSchema schema;

  /// The suffix of a modality. Throws std::invalid_argument listing the known ones.
  const std::string& suffix(std::string_view modality) const;
};

/// All rows, by year.
std::span<const BratsEdition> brats_editions();
/// The edition of a year. Throws std::invalid_argument listing the known years.
const BratsEdition& brats_edition(int year);
/// The schema of that name (e.g. "brats-2018-2020"). Throws std::invalid_argument listing the known ones.
const LabelSchema& find_label_schema(std::string_view name);

/// How often each value occurs.
std::array<int64_t, 256> label_counts(const LabelMap& labels);

/// File values -> class indices, by the schema's fixed map (0, 1, 2, 4 -> 0, 1, 2, 3 in BraTS 2018-2021; the
/// same for every subject, whatever labels it holds). A value that the schema does not know throws DataError
/// naming `source`, every value with its count, and the values expected.
LabelMap labels_to_classes(const LabelMap& labels, const LabelSchema& schema, const std::string& source);

/// Numbers the classes that occur 0, 1, 2, ... in their order: TorchIO's SequentialLabels, applied to one
/// subject by itself, as the seed did. A class then means something else in every subject that lacks a lower
/// one; for comparisons with the seed alone.
void renumber_sequentially(std::vector<uint8_t>& classes);

/// Class indices -> file values. A class beyond the schema's throws DataError.
LabelMap classes_to_labels(const LabelMap& classes, const LabelSchema& schema);

}  // namespace vg::data
