#include "bench/train_step_bench.h"

#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/harness.h"
#include "bench/network_flops.h"
#include "bench/options.h"
#include "bench/steady_state.h"
#include "engine/atomic_file.h"
#include "engine/memory_plan.h"
#include "engine/optimizer.h"
#include "engine/safetensors.h"
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
  std::string weights, data_file;
  bool plan_only = false, check = false, recompute = false;

  struct Batch {
    Tensor images, labels;
  };
  /// Noise and stripes of all classes, made and rounded on the host: no part of a step on the device.
  Batch made_up(Rng& rng) const {
    const Tensor noise = Tensor::activation(shape[0], shape[2], shape[3], shape[4], shape[1], Device::cpu);
    rng.normal(noise, 0, 1);
    const Tensor labels =
        Tensor::activation(shape[0], shape[2], shape[3], shape[4], 1, Device::cpu, DType::uint8);
    const View<uint8_t> view = labels.view<uint8_t>();
    for (int64_t i = 0; i < view.voxels(); ++i) view.data[i] = static_cast<uint8_t>(i / 97 % 4);
    return {noise.to(options.type()).to(options.where()), labels.to(options.where())};
  }
  /// Tensors "input" [N, C, D, H, W] and "labels" [N, D, H, W] of a file.
  Batch loaded() const {
    const Safetensors file = load_safetensors(data_file);
    const Tensor &input = file.at("input"), &classes = file.at("labels");
    if (input.shape() != shape || classes.shape() != Shape{shape[0], shape[2], shape[3], shape[4]})
      throw std::runtime_error(data_file + ": input " + to_string(input.shape()) + " and labels " +
                               to_string(classes.shape()) + " do not fit --shape " + to_string(shape));
    const Tensor images = Tensor::activation_from_ncdhw(input.values(), shape[0], shape[1], shape[2],
                                                        shape[3], shape[4], Device::cpu);
    const Tensor labels =
        Tensor::activation(shape[0], shape[2], shape[3], shape[4], 1, Device::cpu, DType::uint8);
    const std::vector<uint8_t> values = classes.values<uint8_t>();
    std::copy(values.begin(), values.end(), labels.data<uint8_t>());
    return {images.to(options.type()).to(options.where()), labels.to(options.where())};
  }

  void run() const {
    if (shape.size() != 5) throw std::runtime_error("--shape: expected N,C,D,H,W");
    options.apply();
    const Device where = options.where();
    Architecture architecture;
    architecture.in_channels = shape[1];
    Rng rng(1);
    const auto network = make_network(architecture, where, rng);
    if (!weights.empty()) network->load_state(load_safetensors(weights).tensors);
    network->set_recompute(recompute);
    const auto optimizer = make_adam({{network->named_parameters(), 2e-2, 0}});
    allocate_gradients(network->named_parameters());
    const DType type = options.type();
    const auto step = [&](const Tensor& images, const Tensor& classes) {
      const Tensor loss =
          dice_loss((*network)(images), classes, {.smooth_numerator = 1, .smooth_denominator = 1});
      loss.backward();
      return loss.detach();
    };
    const auto plan_of = [&](int64_t batch) {
      return MemoryPlan(where, [&] {
        step(Tensor::activation(batch, shape[2], shape[3], shape[4], shape[1], where, type),
             Tensor::activation(batch, shape[2], shape[3], shape[4], 1, where, DType::uint8));
      });
    };
    const size_t planned_peak = print_plan(plan_of);
    if (plan_only) return;
    const Batch data = data_file.empty() ? made_up(rng) : loaded();
    std::vector<double> losses;
    losses.reserve(1000);  // --check counts what the heap grows

    const auto whole_step = [&] {
      losses.push_back(step(data.images, data.labels).item());
      optimizer->step();
      optimizer->zero_grad();
      Context::get().synchronize(where);
    };
    const double peak = fma_peak_gflops();
    const Timing timing = measure(whole_step, options.warmup, options.runs);
    const double voxels = static_cast<double>(shape[0] * shape[2] * shape[3] * shape[4]);
    report(timing, attention_unet_flops(architecture, voxels).training / 1e9, where == Device::cpu ? peak : 0,
           planned_peak, losses);
    if (check) check_steady_state(measure_system_use(where, whole_step, 3, 5));
  }

  // Prints what a step takes and which batch fits; returns the planned peak of the process, 0 on a GPU.
  size_t print_plan(const std::function<MemoryPlan(int64_t)>& plan_of) const {
    const Device where = options.where();
    const MemoryPlan plan = plan_of(shape[0]);
    const size_t of_one = plan_of(1).peak_bytes_reserved(),
                 of_another = plan_of(2).peak_bytes_reserved() - of_one, available = available_memory(where);
    std::printf("planned: %.3f GB for batch, activations and gradients",
                static_cast<double>(plan.peak_bytes_reserved()) / 1e9);
    size_t peak = 0;
    if (where == Device::cpu) {
      peak = planned_resident_bytes(plan, shape[0] * shape[2] * shape[3] * shape[4]);
      std::printf(", %.3f GB with weights, optimizer and scratch", static_cast<double>(peak) / 1e9);
    }
    std::printf("; %.1f GB available: up to batch %lld\n", static_cast<double>(available) / 1e9,
                available < of_one ? 0 : static_cast<long long>((available - of_one) / of_another + 1));
    return peak;
  }

  // After three steps nothing is taken from the system any more. Throws std::runtime_error if it is.
  static void check_steady_state(const SystemUse& use) {
    constexpr int64_t few_faults = 100;
    std::printf(
        "steady state, most of 5 steps after 3: %lld allocations by the engine, heap grown by %lld bytes "
        "(%lld small blocks of the tape reused), %lld minor page faults\n",
        static_cast<long long>(use.allocations), static_cast<long long>(use.heap_bytes),
        static_cast<long long>(use.heap_calls), static_cast<long long>(use.minor_faults));
    if (use.allocations != 0 || use.heap_bytes != 0 || use.minor_faults >= few_faults)
      throw std::runtime_error(
          "--check: a step takes memory from the system: expected no allocation, no "
          "growth and fewer than 100 page faults");
  }

  void report(const Timing& timing, double gflop, double peak, size_t planned_peak,
              const std::vector<double>& losses) const {
    const double rate = gflop / timing.median;
    nlohmann::ordered_json result = {{"benchmark", "train-step"},
                                     {"device", options.device},
                                     {"precision", options.dtype == "bf16" ? "bfloat16" : options.dtype},
                                     {"shape", shape},
                                     {"threads", omp_get_max_threads()},
                                     {"instruction_set", kernels::cpu::isa_name(kernels::cpu::active_isa())},
                                     {"recompute", recompute},
                                     {"runs", options.runs},
                                     {"seconds_median", timing.median},
                                     {"seconds_min", timing.fastest},
                                     {"seconds_max", timing.slowest},
                                     {"gflop", gflop},
                                     {"gflops", rate},
                                     {"peak_gflops", peak},
                                     {"peak_memory_bytes", peak_resident_bytes()},
                                     {"planned_memory_bytes", planned_peak},
                                     {"losses", losses}};
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
  sub->add_flag("--check", bench->check,
                "afterwards count what a step takes from the system, and fail if it is not nothing");
  sub->add_flag("--plan", bench->plan_only, "print the memory that a step takes, and do none");
  sub->add_flag("--recompute", bench->recompute,
                "compute activations again in backward instead of keeping them");
  sub->add_option("--weights", bench->weights, "safetensors of the network, by MONAI's names; else random");
  sub->add_option("--data", bench->data_file, "safetensors with \"input\" and \"labels\"; else noise");
  sub->add_option("--shape", bench->shape, "N,C,D,H,W")->delimiter(',');
  sub->callback([bench] { bench->run(); });
}

}  // namespace vg::bench
