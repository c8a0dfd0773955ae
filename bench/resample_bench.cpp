#include <cmath>

#include "bench/conv_reference.h"
#include "bench/op_benches.h"
#include "bench/op_race.h"
#include "bench/opponents/op_opponent.h"
#include "kernels/resample3d/resample3d.h"

namespace vg::bench {

namespace {

// The two voxels of a line of `extent` between which output voxel `i` of the doubled line lies, and the
// weight of the second.
struct Between {
  int64_t lower, upper;
  double weight;
};

Between between(int64_t i, int64_t extent) {
  const double place = std::max(0.0, (static_cast<double>(i) + 0.5) / 2 - 0.5);
  const auto lower = static_cast<int64_t>(place);
  return {lower, std::min(lower + 1, extent - 1), place - static_cast<double>(lower)};
}

// Trilinear resampling to twice the extents, in double.
Doubles doubled(const Doubles& x, const Volume& v) {
  Doubles y(static_cast<size_t>(8 * v.elements()));
#pragma omp parallel for
  for (int64_t row = 0; row < v.n * 2 * v.d * 2 * v.h; ++row) {
    const int64_t n = row / (4 * v.d * v.h);
    const Between d = between(row / (2 * v.h) % (2 * v.d), v.d), h = between(row % (2 * v.h), v.h);
    for (int64_t i = 0; i < 2 * v.w; ++i) {
      const Between w = between(i, v.w);
      for (int64_t c = 0; c < v.c; ++c) {
        const auto at = [&](int64_t z, int64_t y_, int64_t x_) {
          return x[static_cast<size_t>((((n * v.d + z) * v.h + y_) * v.w + x_) * v.c + c)];
        };
        const auto line = [&](int64_t z, int64_t y_) {
          return at(z, y_, w.lower) * (1 - w.weight) + at(z, y_, w.upper) * w.weight;
        };
        const auto plane = [&](int64_t z) {
          return line(z, h.lower) * (1 - h.weight) + line(z, h.upper) * h.weight;
        };
        y[static_cast<size_t>((row * 2 * v.w + i) * v.c + c)] =
            plane(d.lower) * (1 - d.weight) + plane(d.upper) * d.weight;
      }
    }
  }
  return y;
}

// <dy, R dx> = <R^T dy, dx> for the resampling R: if dx is R^T dy, both are its square.
Deviation gradient_deviation(const Doubles& dx, const Doubles& dy, const Volume& volume, DType type) {
  const Doubles forward = doubled(dx, volume);
  double product = 0, square = 0;
  for (size_t i = 0; i < dy.size(); ++i) product += forward[i] * dy[i];
  for (const double v : dx) square += v * v;
  return deviation({square}, {product}, type);
}

template <class T>
class ResampleRun {
 public:
  ResampleRun(const Volume& small, const Options& options, int sets)
      : volume_(small), device_(options.where()) {
    const Volume large{small.name, small.n, 2 * small.d, 2 * small.h, 2 * small.w, small.c};
    for (int i = 0; i < sets; ++i) sets_.push_back({operand(small, options, 1), operand(large, options, 2)});
  }
  void forward(int index) {
    const Set& set = sets_[static_cast<size_t>(index)];
    resample3d_forward(set.large.template view<T>(), set.small.template view<const T>(), {}, exec());
  }
  void backward(int index) {
    const Set& set = sets_[static_cast<size_t>(index)];
    resample3d_backward(set.small.template view<T>(), set.large.template view<const T>(), {}, exec());
  }
  Doubles result(bool backward) const { return to_doubles(backward ? sets_[0].small : sets_[0].large); }
  ResampleTask task(bool backward) const {
    return {sets_[0].small.to(DType::float32).values(),
            sets_[0].large.to(DType::float32).values(),
            volume_.n,
            volume_.d,
            volume_.h,
            volume_.w,
            volume_.c,
            backward,
            static_cast<int>(sets_.size())};
  }

 private:
  struct Set {
    Tensor small, large;
  };
  kernels::Exec exec() const { return Context::get().exec(device_); }

  Volume volume_;
  Device device_;
  std::vector<Set> sets_;
};

struct ResampleBench {
  Options options;

  template <class T>
  void race(Report& report, const Volume& volume, const std::string& direction) const {
    const bool backward = direction == "dgrad";
    const double bytes = static_cast<double>(9 * volume.elements()) * sizeof(T);
    const int sets = sets_for(options, bytes);
    ResampleRun<T> ours(volume, options, sets);
    const ResampleTask task = ours.task(backward);
    const auto check = [&](const Doubles& result) {
      if (backward)
        return gradient_deviation(result, {task.large.begin(), task.large.end()}, volume, dtype_of<T>());
      return deviation(result, doubled({task.small.begin(), task.small.end()}, volume), dtype_of<T>());
    };
    Race race{volume.name, volume.label() + " x2", direction, 0, bytes, sets, {}};
    race.contestants.push_back({"voxgrad",
                                [&](int set) { backward ? ours.backward(set) : ours.forward(set); },
                                [&] { return check(ours.result(backward)); }});
    std::string why_not;
    const auto opponents = options.once ? std::vector<std::unique_ptr<Opponent>>()
                                        : make_resample_opponents(options.opponent, task, why_not);
    for (const auto& opponent : opponents)
      race.contestants.push_back({opponent->name(), [&](int set) { opponent->run(set); },
                                  [&] {
                                    const auto values = opponent->result();
                                    return check({values.begin(), values.end()});
                                  }});
    report.race(race);
    if (!why_not.empty()) report.note(why_not);
  }
  void run(Report& report) const {
    for (const Volume& volume : transposed_inputs(options)) {
      for (const std::string direction : {"fprop", "dgrad"}) {
        if (!options.wants_direction(direction)) continue;
        options.dtype == "bf16" ? race<bfloat16>(report, volume, direction)
                                : race<float>(report, volume, direction);
      }
    }
  }
};

}  // namespace

void register_resample(CLI::App& app) {
  register_race<ResampleBench>(app, "resample", "trilinear resampling to twice the extents");
}

}  // namespace vg::bench
