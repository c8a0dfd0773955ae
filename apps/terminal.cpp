#include "apps/terminal.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace vg::apps {

namespace {

template <class... Values>
std::string formatted(const char* format, Values... values) {
  char text[64];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

}  // namespace

std::string format_duration(double seconds) {
  const auto whole = static_cast<long>(seconds + 0.5);
  if (seconds < 60) return formatted("%.1f s", seconds);
  if (whole < 3600) return formatted("%ld min %02ld s", whole / 60, whole % 60);
  return formatted("%ld h %02ld min", whole / 3600, whole / 60 % 60);
}

std::string format_bytes(double bytes) {
  if (bytes >= 1e9) return formatted("%.2f GB", bytes / 1e9);
  if (bytes >= 1e6) return formatted("%.0f MB", bytes / 1e6);
  return formatted("%.0f kB", bytes / 1e3);
}

Terminal::Terminal(bool quiet)
    : quiet_(quiet),
      interactive_(isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr),
      last_status_(std::chrono::steady_clock::now()) {}

void Terminal::say(const std::string& line) {
  if (quiet_) return;
  end_status();
  std::fprintf(stderr, "%s\n", line.c_str());
}

void Terminal::warn(const std::string& line) {
  end_status();
  std::fprintf(stderr, "%s %s\n", bold("warning:").c_str(), line.c_str());
}

void Terminal::status(const std::string& line) {
  if (quiet_) return;
  const auto now = std::chrono::steady_clock::now();
  if (interactive_) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    std::fflush(stderr);
    status_shown_ = true;
  } else if (now - last_status_ >= std::chrono::seconds(10)) {
    std::fprintf(stderr, "%s\n", line.c_str());
    last_status_ = now;
  }
}

void Terminal::end_status() {
  if (!status_shown_) return;
  std::fprintf(stderr, "\r\033[K");
  status_shown_ = false;
}

std::string Terminal::bold(const std::string& text) const {
  return interactive_ ? "\033[1m" + text + "\033[0m" : text;
}

double Pace::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

double Pace::per_second() const {
  return seconds() > 0 ? static_cast<double>(done_) / seconds() : 0;
}

std::string Pace::text() const {
  std::string text = std::to_string(done_) + "/" + std::to_string(total_);
  if (done_ > 0 && done_ < total_)
    text += ", ETA " + format_duration(static_cast<double>(total_ - done_) / per_second());
  return text;
}

}  // namespace vg::apps
