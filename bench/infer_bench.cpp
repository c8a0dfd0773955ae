#include "bench/infer_bench.h"

#include <omp.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "bench/harness.h"
#include "bench/network_flops.h"
#include "bench/options.h"
#include "engine/atomic_file.h"
#include "kernels/common/simd.h"
#include "kernels/conv3d/conv3d_inference.h"
#include "layers/softmax.h"
#include "nets/network.h"

namespace vg::bench {

namespace {

Options infer_options() {
  Options options;
  options.runs = 9;
  options.bfloat16_products = true;
  return options;
}

struct InferBench {
  Options options = infer_options();
  std::vector<int64_t> shape = {1, 4, 112, 128, 80};

  [[nodiscard]] std::string precision() const { return options.dtype == "bf16" ? "bfloat16" : options.dtype; }

  void run() const {
    if (shape.size() != 5) throw std::runtime_error("--shape: expected N,C,D,H,W");
    options.apply();
    const Device where = options.where();
    Architecture architecture;
    architecture.in_channels = shape[1];
    Rng rng(1);
    const auto network = make_network(architecture, where, rng);
    network->train(false);
    const bool bfloat16 = options.type() == DType::bfloat16, on_cpu = where == Device::cpu;
    if (bfloat16 && on_cpu && !kernels::has_fast_bfloat16_products())
      throw std::runtime_error("--precision bfloat16: this processor has no AVX512_BF16");
    network->freeze(bfloat16 ? DType::bfloat16 : DType::float32);
    const NoGradGuard no_grad;
    const Tensor noise = Tensor::activation(shape[0], shape[2], shape[3], shape[4], shape[1], where);
    rng.normal(noise, 0, 1);
    const Tensor input = noise.to(bfloat16 && !on_cpu ? DType::bfloat16 : DType::float32);
    const double peak = fma_peak_gflops();
    const Timing timing = measure(
        [&] {
          const Tensor probabilities = softmax((*network)(input).to(DType::float32));
          Context::get().synchronize(where);
        },
        options.warmup, options.runs);
    const double voxels = static_cast<double>(shape[0] * shape[2] * shape[3] * shape[4]);
    report(timing, attention_unet_flops(architecture, voxels).forward / 1e9, where == Device::cpu ? peak : 0);
  }

  void report(const Timing& timing, double gflop, double peak) const {
    const double rate = gflop / timing.median;
    nlohmann::ordered_json result = {{"benchmark", "infer"},
                                     {"device", options.device},
                                     {"precision", precision()},
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
        "infer %s %s: median %.3f s (%.3f to %.3f, %d runs), %.0f GFLOP/s of %.0f measured peak (%.0f%%), "
        "%.2f GB peak memory\n",
        options.device.c_str(), precision().c_str(), timing.median, timing.fastest, timing.slowest,
        options.runs, rate, peak, peak > 0 ? 100 * rate / peak : 0.0,
        static_cast<double>(peak_resident_bytes()) / 1e9);
    if (!options.json.empty()) write_file_atomically(options.json, result.dump(2) + "\n");
  }
};

}  // namespace

void register_infer(CLI::App& app) {
  const auto bench = std::make_shared<InferBench>();
  CLI::App* sub = app.add_subcommand("infer", "the seed's network in inference mode, and softmax");
  add_run_options(*sub, bench->options);
  sub->add_option("--shape", bench->shape, "N,C,D,H,W")->delimiter(',');
  sub->callback([bench] { bench->run(); });
}

}  // namespace vg::bench
