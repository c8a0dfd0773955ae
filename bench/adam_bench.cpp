#include <cmath>

#include "bench/conv_reference.h"
#include "bench/op_benches.h"
#include "bench/op_race.h"
#include "kernels/adam/adam.h"

namespace vg::bench {

namespace {

// Parameters, gradients and moments, one tensor a layer.
class AdamRun {
 public:
  AdamRun(const std::vector<int64_t>& counts, const Options& options, int sets) : device_(options.where()) {
    for (int i = 0; i < sets; ++i) {
      Set set;
      for (const int64_t count : counts) {
        const auto make = [&](uint32_t seed) {
          return set.tensors.emplace_back(Tensor::from_values({count}, exact_values(count, seed), device_));
        };
        const Tensor parameter = make(1), gradient = make(2), first = make(3), second = make(4);
        second.fill(0.25f);
        set.list.push_back({parameter.data<float>(), gradient.data<const float>(), first.data<float>(),
                            second.data<float>(), count});
      }
      sets_.push_back(std::move(set));
    }
  }
  void run(int index) {
    adam_step(sets_[static_cast<size_t>(index)].list, nullptr, params_, Context::get().exec(device_));
  }
  // Parameters after the first step.
  Deviation check() const {
    Doubles actual, exact;
    for (size_t i = 0; i < sets_[0].tensors.size(); i += 4) {
      const Doubles now = to_doubles(sets_[0].tensors[i]);
      const auto count = static_cast<int64_t>(now.size());
      const auto before = exact_values(count, 1), gradient = exact_values(count, 2),
                 first = exact_values(count, 3);
      for (size_t k = 0; k < now.size(); ++k) {
        const double g = static_cast<double>(gradient[k]);
        const double m = params_.beta1 * static_cast<double>(first[k]) + (1 - params_.beta1) * g,
                     v = params_.beta2 * 0.25 + (1 - params_.beta2) * g * g;
        actual.push_back(now[k]);
        exact.push_back(static_cast<double>(before[k]) -
                        params_.learning_rate * (m / (1 - params_.beta1)) /
                            (std::sqrt(v / (1 - params_.beta2)) + params_.eps));
      }
    }
    return deviation(actual, exact, DType::float32);
  }

 private:
  struct Set {
    std::vector<Tensor> tensors;
    std::vector<kernels::AdamTensor> list;
  };

  Device device_;
  kernels::AdamParams params_;
  std::vector<Set> sets_;
};

struct AdamBench {
  Options options;

  void run(Report& report) const {
    std::vector<int64_t> counts;
    int64_t total = 0;
    for (const ConvLayer& layer : layers_of(options)) {
      counts.push_back(layer.in * layer.out * layer.taps());
      total += counts.back();
    }
    const std::string shape =
        std::to_string(counts.size()) + " tensors, " + std::to_string(total) + " weights";
    if (!options.wants("weights", shape) || !options.wants_direction("fprop")) return;
    // Parameter and moments are read and written, the gradient read; always float.
    const double bytes = 7.0 * 4 * static_cast<double>(total);
    const int sets = sets_for(options, bytes);
    AdamRun ours(counts, options, sets);
    report.race({"weights",
                 shape,
                 "fprop",
                 0,
                 bytes,
                 sets,
                 {{"voxgrad", [&](int set) { ours.run(set); }, [&] { return ours.check(); }}}});
    if (options.opponent != "none") report.note(no_race(options.opponent));
  }
};

}  // namespace

void register_adam(CLI::App& app) {
  register_race<AdamBench>(app, "adam", "one Adam step over all weights of the network's convolutions");
}

}  // namespace vg::bench
