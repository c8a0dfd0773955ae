#include "bench/conv3d_bench.h"

#include <memory>
#include <string>
#include <vector>

#include "bench/conv_layers.h"
#include "bench/conv_reference.h"
#include "bench/opponents/conv_opponent.h"
#include "bench/report.h"
#include "engine/context.h"
#include "engine/tensor.h"
#include "kernels/common/bfloat16.h"
#include "kernels/common/memory.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_method.h"
#include "kernels/conv_transpose3d/conv_transpose3d.h"

namespace vg::bench {

namespace {

// What a race of one layer and direction reads, on the host.
class Operands {
 public:
  Operands(const ConvLayer& layer, const std::string& direction, const Options& options)
      : task_(conv_task(layer, direction)),
        x_(exact_values(x_side().elements(), 1)),
        y_(exact_values(y_side().elements(), 2)),
        weight_(exact_values(task_.weight_count(), 3)) {
    x_side().data = x_.data();
    y_side().data = y_.data();
    task_.weights = weight_.data();
    task_.type = options.type();
    task_.tf32 = options.dtype == "tf32";
    task_.sets = options.once ? 1 : rotated_sets(options.where(), bytes());
  }
  const ConvTask& task() const { return task_; }
  const std::vector<float>& x() const { return x_; }
  const std::vector<float>& y() const { return y_; }
  const std::vector<float>& weight() const { return weight_; }
  // Of both activations and the weights (float, of which their gradient is).
  size_t bytes() const { return (x_.size() + y_.size()) * bytes_of(task_.type) + 4 * weight_.size(); }
  double flop() const { return 2.0 * static_cast<double>(task_.small.voxels() * task_.weight_count()); }

 private:
  View<const float>& x_side() { return task_.transposed ? task_.small : task_.large; }
  View<const float>& y_side() { return task_.transposed ? task_.large : task_.small; }

  ConvTask task_;
  std::vector<float> x_, y_, weight_;
};

// Our own part in such a race. Operands are filled by copies from the host, so that a profile holds the
// kernels of the layer alone.
template <class T>
class LayerRun {
 public:
  LayerRun(const ConvLayer& layer, const std::string& direction, const Operands& operands, Device device)
      : layer_(layer),
        direction_(direction),
        device_(device),
        convolution_{layer.in, layer.out, layer.kernel_size, layer.stride, layer.padding()},
        transposed_{layer.in, layer.out, layer.kernel_size, layer.stride, layer.padding(), layer.padding()} {
    const auto weights = static_cast<int64_t>(operands.weight().size());
    for (int i = 0; i < operands.task().sets; ++i) {
      sets_.push_back(
          {activation(layer.d, layer.h, layer.w, layer.in),
           activation(layer.output_extent(layer.d), layer.output_extent(layer.h),
                      layer.output_extent(layer.w), layer.out),
           Tensor::from_values({weights}, operands.weight(), device),
           Tensor::from_values({weights}, std::vector<float>(operands.weight().size(), 0), device)});
      fill(sets_.back().x, operands.x());
      fill(sets_.back().y, operands.y());
    }
  }

  // The algorithm that runs, where that is known.
  std::string name() {
    if constexpr (std::is_same_v<T, float>) {
      if (!layer_.transposed && device_ == Device::cpu) {
        const auto x = sets_[0].x.template view<float>(), y = sets_[0].y.template view<float>();
        if (direction_ == "fprop")
          return std::string("voxgrad ") + kernels::cpu::conv3d_forward_algorithm(y, x, convolution_);
        if (direction_ == "dgrad")
          return std::string("voxgrad ") + kernels::cpu::conv3d_backward_input_algorithm(x, y, convolution_);
        return std::string("voxgrad ") + kernels::cpu::conv3d_backward_weight_algorithm(y, x, convolution_);
      }
    }
    return "voxgrad";
  }
  void run(int index) {
    Set& set = sets_[static_cast<size_t>(index)];
    if (direction_ == "fprop") forward(set);
    if (direction_ == "dgrad") backward_input(set);
    if (direction_ == "wgrad") backward_weight(set);
  }
  std::vector<float> result() const {
    const Set& set = sets_.front();
    if (direction_ == "wgrad") return set.dweight.values();
    const std::vector<T> stored = (direction_ == "fprop" ? set.y : set.x).template values<T>();
    std::vector<float> values(stored.size());
    for (size_t i = 0; i < stored.size(); ++i) values[i] = kernels::to_float(stored[i]);
    return values;
  }

 private:
  struct Set {
    Tensor x, y, weight, dweight;
  };

  void forward(Set& set) {
    const auto y = set.y.template view<T>();
    const auto x = set.x.template view<const T>();
    if (layer_.transposed) {
      conv_transpose3d_forward(y, x, set.weight.template data<const float>(), nullptr, transposed_, exec());
    } else {
      conv3d_forward(y, x, set.weight.template data<const float>(), nullptr, convolution_, exec());
    }
  }
  void backward_input(Set& set) {
    const auto dx = set.x.template view<T>();
    const auto dy = set.y.template view<const T>();
    if (layer_.transposed) {
      conv_transpose3d_backward_input(dx, dy, set.weight.template data<const float>(), transposed_, exec());
    } else {
      conv3d_backward_input(dx, dy, set.weight.template data<const float>(), convolution_, exec());
    }
  }
  void backward_weight(Set& set) {
    const auto dy = set.y.template view<const T>(), x = set.x.template view<const T>();
    if (layer_.transposed) {
      conv_transpose3d_backward_weight(set.dweight.template data<float>(), dy, x, transposed_, exec());
    } else {
      conv3d_backward_weight(set.dweight.template data<float>(), dy, x, convolution_, exec());
    }
  }

  Tensor activation(int64_t d, int64_t h, int64_t w, int64_t c) const {
    return Tensor::activation(layer_.batch, d, h, w, c, device_, dtype_of<T>());
  }
  void fill(const Tensor& tensor, const std::vector<float>& values) const {
    const View<T> view = tensor.view<T>();
    const int64_t width = view.w * view.c;
    std::vector<T> row(static_cast<size_t>(width));
    for (int64_t i = 0; i < view.rows(); ++i) {
      for (int64_t k = 0; k < width; ++k)
        row[static_cast<size_t>(k)] = kernels::from_float<T>(values[static_cast<size_t>(i * width + k)]);
      kernels::copy_memory(view.row(i), device_, row.data(), Device::cpu, row.size() * sizeof(T),
                           exec().stream);
    }
  }
  kernels::Exec exec() const { return Context::get().exec(device_); }

  ConvLayer layer_;
  std::string direction_;
  Device device_;
  kernels::Conv3dParams convolution_;
  kernels::ConvTranspose3dParams transposed_;
  std::vector<Set> sets_;
};

struct ConvBench {
  Options options;
  bool transposed_only = false;

  template <class T>
  void race(Report& report, const ConvLayer& layer, const std::string& direction) const {
    const Operands operands(layer, direction, options);
    const ConvTask& task = operands.task();
    LayerRun<T> ours(layer, direction, operands, options.where());
    const DType type = direction == "wgrad" ? DType::float32 : task.type;
    Race race{layer.name,
              layer.label(),
              direction,
              operands.flop(),
              static_cast<double>(operands.bytes()),
              task.sets,
              {}};
    race.contestants.push_back({ours.name(), [&](int set) { ours.run(set); },
                                [&] { return conv_deviation(task, ours.result(), type); }});
    std::string why_not;
    const auto opponents = options.once ? std::vector<std::unique_ptr<Opponent>>()
                                        : make_conv_opponents(options.opponent, task, why_not);
    for (const auto& opponent : opponents)
      race.contestants.push_back({opponent->name(), [&](int set) { opponent->run(set); },
                                  [&] { return conv_deviation(task, opponent->result(), task.type); }});
    report.race(race);
    if (!why_not.empty()) report.note(why_not);
  }

  void run() const {
    options.apply();
    Report report(transposed_only ? "conv_transpose3d" : "conv3d", options);
    for (ConvLayer layer : read_conv_layers(options.shapes)) {
      if ((transposed_only && !layer.transposed) || !options.wants(layer.name, layer.label())) continue;
      if (options.batch > 0) layer.batch = options.batch;
      for (const std::string& direction : layer.directions) {
        if (!options.wants_direction(direction)) continue;
        options.dtype == "bf16" ? race<bfloat16>(report, layer, direction)
                                : race<float>(report, layer, direction);
      }
    }
    report.finish();
  }
};

void register_convolutions(CLI::App& app, const std::string& name, const std::string& description,
                           bool transposed_only) {
  const auto bench = std::make_shared<ConvBench>();
  bench->transposed_only = transposed_only;
  CLI::App* sub = app.add_subcommand(name, description);
  add_race_options(*sub, bench->options);
  sub->callback([bench] { bench->run(); });
}

}  // namespace

void register_conv3d(CLI::App& app) {
  register_convolutions(app, "conv3d", "the convolutions of the seed's network", false);
}

void register_conv_transpose3d(CLI::App& app) {
  register_convolutions(app, "conv_transpose3d", "its transposed convolutions alone", true);
}

}  // namespace vg::bench
