// Which subjects train and which validate.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/error.h"

namespace vg::data {

/// Subject ids, each in the order given.
struct Split {
  std::vector<std::string> train, validation;
};

/// The patient of a subject: BraTS 2023 and later number time points in a last part of three digits
/// ("BraTS-GLI-00005-100" is patient "BraTS-GLI-00005"); in other years every subject is a patient.
std::string patient_of(std::string_view subject);

/// The first floor(train_fraction * n) of the sorted ids train, the rest validates (the seed's split, with
/// 0.8). Where that would part the time points of one patient, the patient stays in the training set. Throws
/// std::invalid_argument for a fraction outside (0, 1), DataError for duplicate ids or if a side would be
/// empty.
Split split_by_order(std::vector<std::string> ids, double train_fraction = 0.8);

/// A split from a file: JSON {"train": [ids], "validation": [ids]}, or text with the lines "[train]" and
/// "[validation]", each followed by one id a line ('#' begins a comment). Ids of the data set that are in
/// neither list are left out with a warning. Throws DataError for an id that is not in `ids`, an id or a
/// patient in both lists, a duplicate, an empty list, or a file of another form.
Split read_split(const std::filesystem::path& file, const std::vector<std::string>& ids,
                 const Warn& warn = {});

/// Writes the JSON form. Throws std::runtime_error if the file cannot be written.
void write_split(const std::filesystem::path& file, const Split& split);

}  // namespace vg::data
