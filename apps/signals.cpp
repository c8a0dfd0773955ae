#include "apps/signals.h"

namespace vg::apps {

namespace {

// A handler may touch nothing else.
volatile std::sig_atomic_t received_signal = 0;

void note(int signal) {
  received_signal = signal;
}

}  // namespace

StopSignals::StopSignals() {
  received_signal = 0;
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  sigaction(SIGINT, &action, &interrupt_before_);
  sigaction(SIGTERM, &action, &terminate_before_);
}

StopSignals::~StopSignals() {
  sigaction(SIGINT, &interrupt_before_, nullptr);
  sigaction(SIGTERM, &terminate_before_, nullptr);
}

int StopSignals::received() {
  return received_signal;
}

}  // namespace vg::apps
