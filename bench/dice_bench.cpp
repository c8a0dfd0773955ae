#include <algorithm>
#include <cmath>

#include "bench/op_benches.h"
#include "bench/op_race.h"
#include "kernels/dice/dice.h"

namespace vg::bench {

namespace {

// The seed's loss.
const kernels::DiceParams params = {.smooth_numerator = 1, .smooth_denominator = 1};

// The same in double: the mean over samples and classes of 1 - (2 I + 1) / (P + T + 1).
double dice_loss_of(const Doubles& logits, const std::vector<uint8_t>& labels, int64_t n, size_t classes) {
  const size_t voxels = labels.size() / static_cast<size_t>(n);
  double loss = 0;
  for (size_t sample = 0; sample < static_cast<size_t>(n); ++sample) {
    Doubles intersection(classes), prediction(classes), target(classes);
    for (size_t v = sample * voxels; v < (sample + 1) * voxels; ++v) {
      const double* row = &logits[v * classes];
      const double largest = *std::max_element(row, row + classes);
      double sum = 0;
      for (size_t c = 0; c < classes; ++c) sum += std::exp(row[c] - largest);
      for (size_t c = 0; c < classes; ++c) {
        const double p = std::exp(row[c] - largest) / sum;
        prediction[c] += p;
        if (labels[v] == c) intersection[c] += p, target[c] += 1;
      }
    }
    for (size_t c = 0; c < classes; ++c)
      loss += 1 - (2 * intersection[c] + 1) / (prediction[c] + target[c] + 1);
  }
  return loss / static_cast<double>(static_cast<size_t>(n) * classes);
}

template <class T>
class DiceRun {
 public:
  DiceRun(const Volume& volume, const Options& options, int sets)
      : volume_(volume),
        device_(options.where()),
        loss_(Tensor::zeros({1}, DType::float32, device_)),
        dloss_(Tensor::full({1}, 1, device_)),
        sums_(Tensor::zeros({kernels::dice_sums_count(volume.n, volume.c)}, DType::float32, device_)) {
    const Tensor labels =
        Tensor::activation(volume.n, volume.d, volume.h, volume.w, 1, Device::cpu, DType::uint8);
    const View<uint8_t> view = labels.view<uint8_t>();
    for (int64_t i = 0; i < view.voxels(); ++i) view.data[i] = static_cast<uint8_t>(i / 97 % volume.c);
    for (int i = 0; i < sets; ++i) {
      const Tensor logits = operand(volume, options, 1);
      sets_.push_back({logits, result_like(logits), labels.to(device_)});
    }
  }
  void forward(int index) {
    const Set& set = sets_[static_cast<size_t>(index)];
    dice_forward(loss_.data<float>(), sums_.data<float>(), set.logits.template view<const T>(),
                 set.labels.template view<const uint8_t>(), nullptr, params, exec());
  }
  void backward(int index) {
    const Set& set = sets_[static_cast<size_t>(index)];
    dice_backward(set.dlogits.template view<T>(), dloss_.data<const float>(), sums_.data<const float>(),
                  set.logits.template view<const T>(), set.labels.template view<const uint8_t>(), nullptr,
                  params, exec());
  }
  Deviation check_loss() const {
    return deviation({static_cast<double>(loss_.item())}, {loss_of(to_doubles(sets_[0].logits))},
                     DType::float32);
  }
  // Along the gradient the loss rises by the gradient's square: a central difference in double.
  Deviation check_gradient() const {
    const Doubles gradient = to_doubles(sets_[0].dlogits), logits = to_doubles(sets_[0].logits);
    double square = 0, largest = 0;
    for (const double g : gradient) square += g * g, largest = std::max(largest, std::abs(g));
    const double step = 1e-3 / largest;
    Doubles above = logits, below = logits;
    for (size_t i = 0; i < logits.size(); ++i) above[i] += step * gradient[i], below[i] -= step * gradient[i];
    return deviation({square}, {(loss_of(above) - loss_of(below)) / (2 * step)}, dtype_of<T>());
  }

 private:
  struct Set {
    Tensor logits, dlogits, labels;
  };
  double loss_of(const Doubles& logits) const {
    return dice_loss_of(logits, sets_[0].labels.to(Device::cpu).template values<uint8_t>(), volume_.n,
                        static_cast<size_t>(volume_.c));
  }
  kernels::Exec exec() const { return Context::get().exec(device_); }

  Volume volume_;
  Device device_;
  Tensor loss_, dloss_, sums_;
  std::vector<Set> sets_;
};

struct DiceBench {
  Options options;

  template <class T>
  void race(Report& report, const Volume& volume, const std::string& direction) const {
    const bool backward = direction == "dgrad";
    const auto elements = static_cast<double>(volume.elements());
    const double bytes = elements * sizeof(T) * (backward ? 2 : 1) + static_cast<double>(volume.voxels());
    const int sets = sets_for(options, bytes);
    DiceRun<T> ours(volume, options, sets);
    if (backward) ours.forward(0);  // the sums, which forward keeps
    report.race({volume.name,
                 volume.label(),
                 direction,
                 0,
                 bytes,
                 sets,
                 {{"voxgrad", [&](int set) { backward ? ours.backward(set) : ours.forward(set); },
                   [&] { return backward ? ours.check_gradient() : ours.check_loss(); }}}});
    if (options.opponent != "none") report.note(no_race(options.opponent));
  }
  void run(Report& report) const {
    // The network's result: what the last layer of the file gives.
    const ConvLayer layer = layers_of(options).back();
    const Volume volume{layer.name,
                        layer.batch,
                        layer.output_extent(layer.d),
                        layer.output_extent(layer.h),
                        layer.output_extent(layer.w),
                        layer.out};
    if (!options.wants(volume.name, volume.label())) return;
    for (const std::string direction : {"fprop", "dgrad"}) {
      if (!options.wants_direction(direction)) continue;
      options.dtype == "bf16" ? race<bfloat16>(report, volume, direction)
                              : race<float>(report, volume, direction);
    }
  }
};

}  // namespace

void register_dice(CLI::App& app) {
  register_race<DiceBench>(app, "dice", "Dice loss with softmax over the network's result");
}

}  // namespace vg::bench
