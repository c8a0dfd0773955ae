#include "engine/scheduler.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>

#include "kernels/common/check.h"

namespace vg {

void Schedule::load_state(const std::vector<double>& state) {
  kernels::require(state.empty(), "schedule state: found ", state.size(), " values, expected none");
}

namespace {

class Constant final : public Schedule {
 public:
  [[nodiscard]] double factor(int64_t /*epoch*/) const override { return 1; }
};

class Step final : public Schedule {
 public:
  Step(int64_t step_size, double gamma) : step_size_(step_size), gamma_(gamma) {
    kernels::require(step_size > 0, "step schedule: step_size is ", step_size, ", expected > 0");
  }
  [[nodiscard]] double factor(int64_t epoch) const override {
    const int64_t steps = epoch / step_size_;
    return std::pow(gamma_, static_cast<double>(steps));
  }

 private:
  int64_t step_size_;
  double gamma_;
};

class Polynomial final : public Schedule {
 public:
  Polynomial(int64_t total, double power) : total_(total), power_(power) {
    kernels::require(total > 0, "polynomial schedule: total is ", total, ", expected > 0");
  }
  [[nodiscard]] double factor(int64_t epoch) const override {
    return epoch >= total_ ? 0
                           : std::pow(1 - static_cast<double>(epoch) / static_cast<double>(total_), power_);
  }

 private:
  int64_t total_;
  double power_;
};

class Cosine final : public Schedule {
 public:
  Cosine(int64_t warmup, int64_t total, double start_factor, double end_factor)
      : warmup_(warmup), total_(total), start_(start_factor), end_(end_factor) {
    kernels::require(0 <= warmup && warmup < total, "cosine schedule: warm-up of ", warmup,
                     " epochs, expected 0 to ", total - 1);
  }
  [[nodiscard]] double factor(int64_t epoch) const override {
    if (epoch < warmup_)
      return start_ + (1 - start_) * static_cast<double>(epoch) / static_cast<double>(warmup_);
    const double progress =
        std::min(1.0, static_cast<double>(epoch - warmup_) / static_cast<double>(total_ - warmup_));
    return end_ + (1 - end_) * (1 + std::cos(std::numbers::pi * progress)) / 2;
  }

 private:
  int64_t warmup_, total_;
  double start_, end_;
};

class Plateau final : public Schedule {
 public:
  explicit Plateau(const PlateauOptions& options) : options_(options) {}
  [[nodiscard]] double factor(int64_t /*epoch*/) const override { return factor_; }

  void observe(double metric) override {
    if (better(metric)) {
      best_ = metric;
      bad_epochs_ = 0;
    } else {
      ++bad_epochs_;
    }
    if (cooldown_ > 0) {
      --cooldown_;
      bad_epochs_ = 0;
    }
    if (bad_epochs_ > options_.patience) {
      factor_ = std::max(factor_ * options_.factor, options_.min_factor);
      cooldown_ = options_.cooldown;
      bad_epochs_ = 0;
    }
  }
  [[nodiscard]] std::vector<double> state() const override {
    return {factor_, best_, static_cast<double>(bad_epochs_), static_cast<double>(cooldown_)};
  }
  void load_state(const std::vector<double>& state) override {
    kernels::require(state.size() == 4, "plateau schedule state: found ", state.size(),
                     " values, expected 4");
    factor_ = state[0];
    best_ = state[1];
    bad_epochs_ = static_cast<int64_t>(state[2]);
    cooldown_ = static_cast<int64_t>(state[3]);
  }

 private:
  [[nodiscard]] bool better(double metric) const {
    // Before the first metric anything is better; infinity minus a share of itself would be NaN.
    if (std::isinf(best_)) return !std::isnan(metric);
    const double margin = options_.relative_threshold ? options_.threshold * best_ : options_.threshold;
    return options_.maximise ? metric > best_ + margin : metric < best_ - margin;
  }

  PlateauOptions options_;
  double factor_ = 1;
  double best_ = std::numeric_limits<double>::infinity();
  int64_t bad_epochs_ = 0, cooldown_ = 0;
};

}  // namespace

std::unique_ptr<Schedule> make_constant_schedule() {
  return std::make_unique<Constant>();
}

std::unique_ptr<Schedule> make_step_schedule(int64_t step_size, double gamma) {
  return std::make_unique<Step>(step_size, gamma);
}

std::unique_ptr<Schedule> make_polynomial_schedule(int64_t total, double power) {
  return std::make_unique<Polynomial>(total, power);
}

std::unique_ptr<Schedule> make_cosine_schedule(int64_t warmup, int64_t total, double start_factor,
                                               double end_factor) {
  return std::make_unique<Cosine>(warmup, total, start_factor, end_factor);
}

std::unique_ptr<Schedule> make_plateau_schedule(const PlateauOptions& options) {
  return std::make_unique<Plateau>(options);
}

}  // namespace vg
