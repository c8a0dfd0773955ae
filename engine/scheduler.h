// Learning-rate schedules: a factor on the base rate for each epoch. All but plateau are functions of the
// epoch alone.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace vg {

class Schedule {
 public:
  virtual ~Schedule() = default;
  /// Factor on the base learning rate during epoch `epoch`, counted from 0.
  [[nodiscard]] virtual double factor(int64_t epoch) const = 0;
  /// Tells the schedule the metric of the epoch that has ended; only plateau listens.
  virtual void observe(double /*metric*/) {}
  /// What must be kept in a checkpoint; empty for schedules without memory.
  [[nodiscard]] virtual std::vector<double> state() const { return {}; }
  /// Throws std::invalid_argument if `state` is not one of this schedule.
  virtual void load_state(const std::vector<double>& state);
};

std::unique_ptr<Schedule> make_constant_schedule();

/// gamma^(epoch / step_size): PyTorch's StepLR.
std::unique_ptr<Schedule> make_step_schedule(int64_t step_size, double gamma);

/// (1 - epoch / total)^power, 0 from `total` on: nnU-Net's schedule with power 0.9, PyTorch's PolynomialLR.
std::unique_ptr<Schedule> make_polynomial_schedule(int64_t total, double power = 0.9);

/// Linear from start_factor to 1 over `warmup` epochs, then half a cosine down to end_factor at `total`:
/// MONAI's WarmupCosineSchedule, PyTorch's LinearLR followed by CosineAnnealingLR.
std::unique_ptr<Schedule> make_cosine_schedule(int64_t warmup, int64_t total, double start_factor = 0,
                                               double end_factor = 0);

/// PyTorch's ReduceLROnPlateau.
struct PlateauOptions {
  bool maximise = false;  ///< a larger metric is better
  double factor = 0.1;
  int64_t patience = 10;
  double threshold = 1e-4;
  bool relative_threshold = true;
  int64_t cooldown = 0;
  double min_factor = 0;  ///< smallest rate as a share of the base rate
};
std::unique_ptr<Schedule> make_plateau_schedule(const PlateauOptions& options);

}  // namespace vg
