// Output for people: progress with rate and remaining time, colours only on a terminal, nothing in quiet
// mode.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace vg::apps {

/// "1 h 02 min", "3 min 04 s", "5.1 s".
std::string format_duration(double seconds);
/// "1.5 GB", "230 MB".
std::string format_bytes(double bytes);

/// Prints to standard error, so that standard output stays machine-readable.
class Terminal {
 public:
  explicit Terminal(bool quiet);

  [[nodiscard]] bool quiet() const { return quiet_; }
  /// One line, unless quiet.
  void say(const std::string& line);
  /// One line that starts with "warning: ", also when quiet.
  void warn(const std::string& line);
  /// A line that replaces the last status line on a terminal; elsewhere it is printed at most every ten
  /// seconds.
  void status(const std::string& line);
  /// Clears the status line.
  void end_status();
  [[nodiscard]] std::string bold(const std::string& text) const;

 private:
  bool quiet_, interactive_, status_shown_ = false;
  std::chrono::steady_clock::time_point last_status_{};
};

/// Rate and remaining time of `total` equal pieces of work, measured since its construction.
class Pace {
 public:
  explicit Pace(int64_t total) : total_(total), start_(std::chrono::steady_clock::now()) {}
  void advance(int64_t pieces = 1) { done_ += pieces; }
  [[nodiscard]] double seconds() const;
  [[nodiscard]] double per_second() const;
  /// "37/400, ETA 3 min 04 s".
  [[nodiscard]] std::string text() const;

 private:
  int64_t total_, done_ = 0;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace vg::apps
