// The record of a training run: log.jsonl with a line for every step, epochs.csv with a row for every epoch.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace vg::apps {

/// Appends to the logs of a run. Each line is flushed as it is written.
class RunLog {
 public:
  /// Opens the logs in `folder`. Entries of steps after `step` and of epochs from `epoch` on, left by a run
  /// that was interrupted after its last checkpoint, are dropped: resumed logs are those of an uninterrupted
  /// run. Throws std::runtime_error.
  RunLog(const std::filesystem::path& folder, int64_t step, int64_t epoch);

  /// One line of log.jsonl; must have "step".
  void step(const nlohmann::ordered_json& entry);
  /// One row of epochs.csv; must have "epoch". The keys of the first row become the heading.
  void epoch(const nlohmann::ordered_json& entry);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, Close>;
  static File open(const std::filesystem::path& file);

  File steps_, epochs_;
};

}  // namespace vg::apps
