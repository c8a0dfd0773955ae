// Preprocessed subjects on the disk, so that later epochs and runs read one packed file a subject instead of
// decompressing and resampling five.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "data/brats_dataset.h"

namespace vg::data {

/// A folder of files <id>-<hash of the parameters>.sample, one for each subject: 16 bytes of magic with the
/// version, the length of a JSON header (uint64), the header (key, geometry, what follows), the image (float)
/// and the labels (uint8) as Sample has them, and the CRC-32 of everything before; little-endian. A file is
/// used if it was made by this version of the format, with the same channels, preprocessing and label schema,
/// from source files whose paths, sizes and times of change are still the same; else it is made again. Runs
/// with other parameters share a folder without harm, and so do runs at the same time: files appear whole or
/// not at all.
///
/// A cache never stops a run: what goes wrong is told once, in one line, and the run does without.
/// Thread-safe.
class SampleCache {
 public:
  /// Makes the folder if need be.
  SampleCache(std::filesystem::path folder, const std::vector<std::string>& channels,
              const Preprocessing& preprocessing, const LabelSchema& schema);

  /// The sample of these files, if it is there and valid.
  [[nodiscard]] std::optional<Sample> read(const SubjectFiles& subject);
  /// Keeps it. The files must not have changed since they were read: `key` is what key_of() gave before.
  void write(const SubjectFiles& subject, const Sample& sample, const std::string& key);
  /// Everything that the sample of these files depends on, as text.
  [[nodiscard]] std::string key_of(const SubjectFiles& subject) const;
  /// Where its sample is kept.
  [[nodiscard]] std::filesystem::path file_of(const std::string& id) const;

  /// Both: what read() gives, or load_subject() and then write().
  [[nodiscard]] Sample load(const SubjectFiles& subject, Purpose purpose = Purpose::training);

  /// What went wrong since the last call, one line each.
  [[nodiscard]] std::vector<std::string> take_warnings();

 private:
  void warn(std::string line);

  const std::filesystem::path folder_;
  const std::vector<std::string> channels_;
  const Preprocessing preprocessing_;
  const LabelSchema schema_;
  std::string parameters_;  ///< the part of the key that all subjects share

  std::mutex writing_;  ///< one file at a time
  std::mutex mutex_;    // guards what follows
  std::vector<std::string> warnings_;
  bool writable_ = true;  ///< no write has failed so far
};

}  // namespace vg::data
