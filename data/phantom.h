// Data sets in BraTS 2020's layout made from one real brain scan, for trying, testing and benchmarking
// voxgrad without patient data. They are phantoms: results on them say nothing about patients.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "data/error.h"

namespace vg::data {

struct PhantomOptions {
  int64_t count = 8;  ///< subjects
  uint64_t seed = 0;  ///< same seed, same files, whatever the number of threads
  int64_t first_index =
      1;  ///< number of the first subject; subject n is the same in every data set of a seed
  /// A skull-stripped T1 brain (NIfTI). Empty: the template of Debian's mricron-data, or the procedural brain
  /// where that is not installed.
  std::filesystem::path anatomy;
  bool procedural = false;  ///< use the procedural brain in any case
  double voxel_size = 1;    ///< mm; 1 gives BraTS' 240x240x155, larger values smaller volumes for tests
};

/// Called after each subject, by one thread at a time: how many are done, of how many, and which one it was.
using PhantomProgress = std::function<void(int64_t done, int64_t total, const std::string& subject)>;

/// "BraTS20_Training_007".
std::string phantom_subject_id(int64_t index);

/// Writes folder/BraTS20_Training_NNN/BraTS20_Training_NNN_{flair,t1,t1ce,t2,seg}.nii.gz (int16, labels
/// uint8; BraTS' affine) and folder/phantom.json, which says how they were made. Subjects are made in
/// parallel.
///
/// Throws std::invalid_argument for options that make no sense, and DataError if the anatomy cannot be used,
/// a file cannot be written, or the folder holds subjects of these names that are not marked as phantoms
/// (real data is never overwritten).
void make_phantom_dataset(const std::filesystem::path& folder, const PhantomOptions& options,
                          const PhantomProgress& progress = {}, const Warn& warn = {});

}  // namespace vg::data
