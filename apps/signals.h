// Ctrl-C and SIGTERM ask for an orderly end: the step in progress is finished and the state saved.
#pragma once

#include <csignal>

namespace vg::apps {

/// Within its life SIGINT and SIGTERM are noted instead of ending the process; a second one ends it at once.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The signal received, or 0.
  [[nodiscard]] static int received();

 private:
  struct sigaction interrupt_before_ {
  }, terminate_before_{};
};

}  // namespace vg::apps
