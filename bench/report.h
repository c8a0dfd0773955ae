// Races and their table: each contestant is checked, then timed; rows go to the screen, to CSV and to JSON.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/harness.h"
#include "bench/options.h"
#include "bench/peaks.h"

namespace vg::bench {

/// How far a result is from the same in double.
struct Deviation {
  double error = 0;  ///< the largest difference, relative to the root mean square of the exact values
  double bound = 0;  ///< what it may be
};

struct Contestant {
  std::string name;                  ///< "voxgrad winograd", "oneDNN ndhwc" ...
  std::function<void(int set)> run;  ///< on operands of that set, 0 <= set < Race::sets
  std::function<Deviation()> check;  ///< after run(0) as the first run; may be empty
};

/// One line of work that several implementations do.
struct Race {
  std::string name, shape, direction;
  double flop = 0;                      ///< nominal; 0 if the work is no arithmetic worth the name
  double bytes = 0;                     ///< that must be moved at least: inputs and outputs once
  int sets = 1;                         ///< of operands, see rotated_sets()
  std::vector<Contestant> contestants;  ///< voxgrad first
};

class Report {
 public:
  /// Prints machine and versions, and measures and prints the peaks (neither with `once`).
  Report(std::string benchmark, const Options& options);
  /// Checks and times each contestant and prints a row for each. Throws std::runtime_error if a check fails.
  void race(const Race& race);
  /// Prints a line among the rows: why a contestant is missing.
  void note(const std::string& text);
  /// Prints the spread of the peaks, writes CSV and JSON, and throws std::runtime_error if there was no race.
  void finish();

 private:
  struct Row {
    const Race* race;
    const Contestant* contestant;
    Timing timing;
    Deviation deviation;
    double
        ratio;  ///< of voxgrad: time of the fastest opponent over its own; of opponents the same to voxgrad
  };
  Timing time(const Race& race, const Contestant& contestant) const;
  Deviation check(const Race& race, const Contestant& contestant) const;
  void print_head() const;
  void print(const Row& row);

  std::string benchmark_;
  Options options_;
  Peaks peaks_;                        ///< compute: of the present race
  std::vector<double> compute_peaks_;  ///< of all races
  std::string csv_;
  nlohmann::ordered_json machine_, rows_ = nlohmann::ordered_json::array();
  bool raced_ = false;
};

}  // namespace vg::bench
