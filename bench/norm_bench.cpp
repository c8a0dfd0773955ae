#include <cmath>

#include "bench/op_benches.h"
#include "bench/op_race.h"
#include "bench/opponents/op_opponent.h"
#include "kernels/norm3d/norm3d.h"

namespace vg::bench {

namespace {

const kernels::Norm3dParams params = {.activation = {.kind = kernels::ActivationKind::relu}};

// A channel's values at all voxels, in double, and what the norm makes of them.
class Channel {
 public:
  Channel(const Doubles& x, const Doubles& dy, double gamma, double beta, size_t channels, size_t channel)
      : gamma_(gamma) {
    for (size_t i = channel; i < x.size(); i += channels) x_.push_back(x[i]), dy_.push_back(dy[i]);
    const auto count = static_cast<double>(x_.size());
    double mean = 0, variance = 0;
    for (const double v : x_) mean += v / count;
    for (const double v : x_) variance += (v - mean) * (v - mean) / count;
    deviation_ = std::sqrt(variance + static_cast<double>(params.eps));
    for (double& v : x_) v = (v - mean) / deviation_;
    for (size_t i = 0; i < x_.size(); ++i) {
      const double before = x_[i] * gamma + beta;
      y_.push_back(before > 0 ? before : 0);
      if (before <= 0) dy_[i] = 0;
    }
  }
  const Doubles& y() const { return y_; }
  Doubles dx() const {
    const auto count = static_cast<double>(x_.size());
    double sum = 0, product = 0;
    for (size_t i = 0; i < x_.size(); ++i) sum += dy_[i] / count, product += dy_[i] * x_[i] / count;
    Doubles result(x_.size());
    for (size_t i = 0; i < x_.size(); ++i) result[i] = gamma_ / deviation_ * (dy_[i] - sum - x_[i] * product);
    return result;
  }

 private:
  double gamma_, deviation_;
  Doubles x_, dy_, y_;  // x_: normalised
};

struct Set {
  Tensor x, dy, result;
};

template <class T>
class NormRun {
 public:
  NormRun(const Volume& volume, const Options& options, int sets)
      : volume_(volume),
        device_(options.where()),
        gamma_(parameter(volume.c, options, 1, 3)),
        beta_(parameter(volume.c, options, 0, 4)),
        mean_(Tensor::zeros({volume.c}, DType::float32, device_)),
        variance_(Tensor::zeros({volume.c}, DType::float32, device_)),
        dgamma_(Tensor::zeros({volume.c}, DType::float32, device_)),
        dbeta_(Tensor::zeros({volume.c}, DType::float32, device_)) {
    for (int i = 0; i < sets; ++i) {
      const Tensor x = operand(volume, options, 1), dy = operand(volume, options, 2);
      sets_.push_back({x, dy, result_like(x)});
    }
  }
  void forward(int index) {
    const Set& set = sets_[static_cast<size_t>(index)];
    norm3d_statistics(mean_.data<float>(), variance_.data<float>(), set.x.template view<const T>(), params,
                      exec());
    norm3d_apply(set.result.view<T>(), set.x.view<const T>(), mean(), variance(), gamma_.data<const float>(),
                 beta_.data<const float>(), nullptr, params, exec());
  }
  void backward(int index) {
    const Set& set = sets_[static_cast<size_t>(index)];
    norm3d_backward(set.result.view<T>(), dgamma_.data<float>(), dbeta_.data<float>(), nullptr,
                    set.dy.view<const T>(), set.x.view<const T>(), mean(), variance(),
                    gamma_.data<const float>(), beta_.data<const float>(), nullptr, params, exec());
  }
  // First and last channel of what run(0) left.
  Deviation check(bool gradient) const {
    const Doubles x = to_doubles(sets_[0].x), dy = to_doubles(sets_[0].dy);
    return check_values(to_doubles(sets_[0].result), x, dy, gradient);
  }
  Deviation check_values(const Doubles& result, const Doubles& x, const Doubles& dy, bool gradient) const {
    const Doubles gamma = to_doubles(gamma_), beta = to_doubles(beta_);
    const auto channels = static_cast<size_t>(volume_.c);
    Doubles actual, exact;
    for (const size_t c : {size_t{0}, channels - 1}) {
      const Channel channel(x, dy, gamma[c], beta[c], channels, c);
      const Doubles values = gradient ? channel.dx() : channel.y();
      exact.insert(exact.end(), values.begin(), values.end());
      for (size_t i = c; i < result.size(); i += channels) actual.push_back(result[i]);
    }
    return deviation(actual, exact, dtype_of<T>());
  }
  NormTask task(bool backward) const {
    return {sets_[0].x.to(DType::float32).values(),
            sets_[0].dy.to(DType::float32).values(),
            gamma_.values(),
            beta_.values(),
            volume_.n,
            volume_.d,
            volume_.h,
            volume_.w,
            volume_.c,
            params.eps,
            backward,
            static_cast<int>(sets_.size())};
  }

 private:
  const float* mean() const { return mean_.data<const float>(); }
  const float* variance() const { return variance_.data<const float>(); }
  kernels::Exec exec() const { return Context::get().exec(device_); }

  Volume volume_;
  Device device_;
  Tensor gamma_, beta_, mean_, variance_, dgamma_, dbeta_;
  std::vector<Set> sets_;
};

struct NormBench {
  Options options;

  template <class T>
  void race(Report& report, const Volume& volume, const std::string& direction) const {
    const bool backward = direction == "dgrad";
    const double bytes = static_cast<double>(volume.elements()) * sizeof(T) * (backward ? 3 : 2);
    const int sets = sets_for(options, bytes);
    NormRun<T> ours(volume, options, sets);
    if (backward) ours.forward(0);  // statistics, which forward keeps
    Race race{volume.name, volume.label(), direction, 0, bytes, sets, {}};
    race.contestants.push_back({"voxgrad",
                                [&](int set) { backward ? ours.backward(set) : ours.forward(set); },
                                [&] { return ours.check(backward); }});
    std::string why_not;
    std::vector<std::unique_ptr<Opponent>> opponents;
    if (!options.once && options.opponent != "none") {
      const NormTask task = ours.task(backward);
      const Doubles x(task.x.begin(), task.x.end()), dy(task.dy.begin(), task.dy.end());
      opponents = make_norm_opponents(options.opponent, task, why_not);
      for (const auto& opponent : opponents)
        race.contestants.push_back(
            {opponent->name(), [&](int set) { opponent->run(set); },
             [&ours, &opponent, x, dy, backward] {
               const auto values = opponent->result();
               return ours.check_values({values.begin(), values.end()}, x, dy, backward);
             }});
    }
    report.race(race);
    if (!why_not.empty()) report.note(why_not);
  }
  void run(Report& report) const {
    for (const Volume& volume : conv_outputs(options)) {
      for (const std::string direction : {"fprop", "dgrad"}) {
        if (!options.wants_direction(direction)) continue;
        options.dtype == "bf16" ? race<bfloat16>(report, volume, direction)
                                : race<float>(report, volume, direction);
      }
    }
  }
};

}  // namespace

void register_norm(CLI::App& app) {
  register_race<NormBench>(app, "norm", "batch norm with ReLU in training");
}

}  // namespace vg::bench
