#include "bench/train_step_bench.h"

#include <omp.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/harness.h"
#include "bench/network_flops.h"
#include "bench/options.h"
#include "engine/atomic_file.h"
#include "engine/memory_plan.h"
#include "engine/optimizer.h"
#include "kernels/common/simd.h"
#include "layers/dice.h"
#include "nets/network.h"

namespace vg::bench {

namespace {

// A step takes long enough for few runs.
Options step_options() {
  Options options;
  options.runs = 5;
  return options;
}

struct TrainStepBench {
  Options options = step_options();
  std::vector<int64_t> shape = {1, 4, 112, 128, 80};
  bool plan_only = false;

  void run() const {
    if (shape.size() != 5) throw std::runtime_error("--shape: expected N,C,D,H,W");
    options.apply();
    const Device where = options.where();
    Architecture architecture;
    architecture.in_channels = shape[1];
    Rng rng(1);
    const auto network = make_network(architecture, where, rng);
    const auto optimizer = make_adam({{network->named_parameters(), 2e-2, 0}});
    const DType type = options.type();
    const auto step = [&](const Tensor& images, const Tensor& classes) {
      dice_loss((*network)(images), classes, {.smooth_numerator = 1, .smooth_denominator = 1}).backward();
    };
    const MemoryPlan plan(where, [&] {
      step(Tensor::activation(shape[0], shape[2], shape[3], shape[4], shape[1], where, type),
           Tensor::activation(shape[0], shape[2], shape[3], shape[4], 1, where, DType::uint8));
      for (const auto& [name, parameter] : network->named_parameters()) parameter.set_grad({});
    });
    std::printf("planned: %.3f GB for batch, activations and gradients\n",
                static_cast<double>(plan.peak_bytes_reserved()) / 1e9);
    if (plan_only) return;
    const Tensor noise = Tensor::activation(shape[0], shape[2], shape[3], shape[4], shape[1], where);
    rng.normal(noise, 0, 1);
    const Tensor input = noise.to(type);
    const Tensor labels =
        Tensor::activation(shape[0], shape[2], shape[3], shape[4], 1, Device::cpu, DType::uint8);
    const View<uint8_t> view = labels.view<uint8_t>();
    for (int64_t i = 0; i < view.voxels(); ++i) view.data[i] = static_cast<uint8_t>(i / 97 % 4);
    const Tensor targets = labels.to(where);

    const double peak = fma_peak_gflops();
    const Timing timing = measure(
        [&] {
          step(input, targets);
          optimizer->step();
          optimizer->zero_grad();
          Context::get().synchronize(where);
        },
        options.warmup, options.runs);
    const double voxels = static_cast<double>(shape[0] * shape[2] * shape[3] * shape[4]);
    report(timing, attention_unet_flops(architecture, voxels).training / 1e9,
           where == Device::cpu ? peak : 0);
  }

  void report(const Timing& timing, double gflop, double peak) const {
    const double rate = gflop / timing.median;
    nlohmann::ordered_json result = {{"benchmark", "train-step"},
                                     {"device", options.device},
                                     {"precision", options.dtype == "bf16" ? "bfloat16" : options.dtype},
                                     {"shape", shape},
                                     {"threads", omp_get_max_threads()},
                                     {"instruction_set", kernels::cpu::isa_name(kernels::cpu::active_isa())},
                                     {"runs", options.runs},
                                     {"seconds_median", timing.median},
                                     {"seconds_min", timing.fastest},
                                     {"seconds_max", timing.slowest},
                                     {"gflop", gflop},
                                     {"gflops", rate},
                                     {"peak_gflops", peak},
                                     {"peak_memory_bytes", peak_resident_bytes()}};
    std::printf(
        "train-step %s: median %.3f s (%.3f to %.3f, %d runs), %.0f GFLOP/s of %.0f measured peak (%.0f%%), "
        "%.2f GB peak memory\n",
        options.device.c_str(), timing.median, timing.fastest, timing.slowest, options.runs, rate, peak,
        peak > 0 ? 100 * rate / peak : 0.0, static_cast<double>(peak_resident_bytes()) / 1e9);
    if (!options.json.empty()) write_file_atomically(options.json, result.dump(2) + "\n");
  }
};

}  // namespace

void register_train_step(CLI::App& app) {
  const auto bench = std::make_shared<TrainStepBench>();
  CLI::App* sub =
      app.add_subcommand("train-step", "forward, Dice loss, backward and Adam of the seed's network");
  add_run_options(*sub, bench->options);
  sub->add_flag("--plan", bench->plan_only, "print the memory that a step takes, and do none");
  sub->add_option("--shape", bench->shape, "N,C,D,H,W")->delimiter(',');
  sub->callback([bench] { bench->run(); });
}

}  // namespace vg::bench
