#include "bench/ladder_bench.h"

#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/conv_layers.h"
#include "bench/harness.h"
#include "bench/ladder/rung.h"
#include "bench/peaks.h"
#include "engine/context.h"
#include "engine/tensor.h"
#include "kernels/common/bfloat16.h"
#include "kernels/common/memory.h"
#include "kernels/common/simd.h"

namespace vg::bench {

namespace {

using ladder::Rung;

// A layer's operands in the type that a rung takes, and the rung on them.
template <class T>
class RungRun {
 public:
  RungRun(const Rung& rung, const ConvLayer& layer)
      : rung_(rung),
        x_(activation(layer, layer.in)),
        y_(activation(layer, layer.out)),
        weight_(Tensor::from_values({layer.out * layer.in * 27}, weights(layer), rung.device)) {
    fill();
  }
  void operator()() {
    const auto exec = Context::get().exec(rung_.device);
    const auto* const weight = weight_.template data<const float>();
    if constexpr (std::is_same_v<T, float>) {
      rung_.fp32(y_.template view<float>(), x_.template view<const float>(), weight, exec);
    } else {
      rung_.bf16(y_.template view<T>(), x_.template view<const T>(), weight, exec);
    }
  }

 private:
  Tensor activation(const ConvLayer& layer, int64_t channels) const {
    return Tensor::activation(layer.batch, layer.d, layer.h, layer.w, channels, rung_.device, dtype_of<T>());
  }
  static std::vector<float> weights(const ConvLayer& layer) {
    return std::vector<float>(static_cast<size_t>(layer.out * layer.in * 27), 0.01f);
  }
  // By copies from the host, so that a profile holds the rung's kernels alone.
  void fill() {
    const View<T> view = x_.template view<T>();
    std::vector<T> row(static_cast<size_t>(view.w * view.c));
    for (size_t i = 0; i < row.size(); ++i)
      row[i] = kernels::from_float<T>(0.25f * static_cast<float>(i % 7) - 0.75f);
    for (int64_t i = 0; i < view.rows(); ++i)
      kernels::copy_memory(view.row(i), rung_.device, row.data(), Device::cpu, row.size() * sizeof(T),
                           Context::get().exec(rung_.device).stream);
  }

  Rung rung_;
  Tensor x_, y_, weight_;
};

struct LadderBench {
  std::string device = "cpu", layer_name = "level0.conv1", rung_name, shapes = VG_BENCH_SHAPES,
              counts = VG_LADDER_COUNTS;
  std::vector<int64_t> extents;
  int64_t batch = 1;
  int threads = 0, runs = 10, warmup = 1;
  double seconds = 2;
  bool once = false, list = false;

  std::vector<Rung> rungs() const {
    std::vector<Rung> chosen;
    for (const Rung& rung : ladder::conv3d_rungs()) {
      if (device_name(rung.device) == device && (rung_name.empty() || rung_name == rung.name))
        chosen.push_back(rung);
    }
    return chosen;
  }

  ConvLayer layer() const {
    for (ConvLayer found : read_conv_layers(shapes)) {
      if (found.transposed || found.kernel_size != 3 || found.stride != 1) continue;
      if (found.name != layer_name && found.label().find(layer_name) == std::string::npos) continue;
      found.batch = batch;
      if (!extents.empty()) found.d = extents[0], found.h = extents[1], found.w = extents[2];
      return found;
    }
    throw std::runtime_error("--layer " + layer_name + ": no convolution of 3 with stride 1 in " + shapes +
                             " has this in its name or shape");
  }

  double peak(const std::string& dtype) const {
    Options options;
    options.device = device;
    options.dtype = dtype;
    return compute_peak_gflops(options);
  }

  // Slow rungs run less often.
  template <class T>
  Timing time(const Rung& rung, const ConvLayer& of_layer) const {
    RungRun<T> run(rung, of_layer);
    if (once) {
      run();
      Context::get().synchronize(rung.device);
      return {};
    }
    const auto body = [&](int) { run(); };
    const double first = measure_on(rung.device, body, 0, 1).fastest;
    const int affordable = static_cast<int>(seconds / std::max(first, 1e-9));
    return measure_on(rung.device, body, first > seconds ? 0 : warmup, std::clamp(affordable, 1, runs));
  }

  void print_times() const {
    const ConvLayer of_layer = layer();
    const double gflop = 2e-9 * 27 *
                         static_cast<double>(of_layer.batch * of_layer.d * of_layer.h * of_layer.w *
                                             of_layer.in * of_layer.out);
    if (device == "cpu") {
      if (threads > 0) omp_set_num_threads(threads);
      std::printf("%s, %d threads", kernels::cpu::isa_name(kernels::cpu::active_isa()),
                  omp_get_max_threads());
    } else {
      std::printf("CUDA");
    }
    const double float_peak = once ? 0 : peak("float32"),
                 bfloat16_peak = once || device == "cpu" ? 0 : peak("bf16");
    if (float_peak > 0) std::printf(", measured FMA peak %.0f GFLOP/s", float_peak);
    if (bfloat16_peak > 0) std::printf(", of bf16 mma %.0f GFLOP/s", bfloat16_peak);
    std::printf("; %s, batch %lld: %.2f GFLOP, median of up to %d runs\n", of_layer.label().c_str(),
                static_cast<long long>(of_layer.batch), gflop, runs);
    std::printf("%-6s %-22s %-5s %10s %10s %9s %8s  %s\n", "rung", "", "type", "ms", "GFLOP/s", "% of peak",
                "speed-up", "idea");
    double before = 0;
    for (const Rung& rung : rungs()) {
      std::printf("%-6s %-22s %-5s ", rung.name, rung.title, rung.fp32 != nullptr ? "fp32" : "bf16");
      if (!rung.applies(of_layer.in, of_layer.out)) {
        std::printf("%10s %10s %9s %8s  (does not take these channels)\n", "-", "-", "-", "-");
        continue;
      }
      const double median =
          rung.fp32 != nullptr ? time<float>(rung, of_layer).median : time<bfloat16>(rung, of_layer).median;
      if (once) {
        std::printf("done\n");
        continue;
      }
      const double rate = gflop / median;
      std::printf("%10.2f %10.1f ", 1e3 * median, rate);
      std::printf("%8.0f%% ", 100 * rate / (rung.fp32 != nullptr ? float_peak : bfloat16_peak));
      before > 0 ? std::printf("%7.1fx", before / median) : std::printf("%8s", "-");
      std::printf("  %s\n", rung.idea);
      std::fflush(stdout);
      before = median;
    }
  }

  // What bench/ladder/counts has counted, in its words: a table of names, and of rows by rung.
  void print_counts(const std::string& reason) const {
    std::ifstream file(counts);
    if (!file) throw std::runtime_error("--counts " + counts + ": cannot be read");
    const auto data = nlohmann::json::parse(file);
    std::printf("no times: no usable GPU (%s)\ncounts of %s (bench/ladder/counts writes them, %s)\n",
                reason.c_str(), data.at("layer").get<std::string>().c_str(), counts.c_str());
    const auto table = data.at("table").get<std::vector<std::vector<std::string>>>();
    std::vector<size_t> widths;
    for (const auto& row : table) {
      widths.resize(std::max(widths.size(), row.size()));
      for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    for (const auto& row : table) {
      for (size_t i = 0; i < row.size(); ++i) {
        const int width = static_cast<int>(widths[i]);
        std::printf(i < 3 ? "%-*s  " : "%*s  ", width, row[i].c_str());
      }
      std::printf("\n");
    }
  }

  void run() const {
    if (list) {
      for (const Rung& rung : rungs())
        std::printf("%s\t%s\t%s\n", rung.name, rung.title, rung.fp32 != nullptr ? "fp32" : "bf16");
      return;
    }
    if (std::string reason; device == "cuda" && !cuda_available(&reason)) {
      if (once) throw std::runtime_error("--device cuda --once: no usable GPU (" + reason + ")");
      return print_counts(reason);
    }
    if (rungs().empty()) throw std::runtime_error("--rung " + rung_name + ": no rung has this name");
    print_times();
  }
};

}  // namespace

void register_ladder(CLI::App& app) {
  const auto bench = std::make_shared<LadderBench>();
  CLI::App* sub = app.add_subcommand("ladder", "study versions of the 3x3x3 convolution (bench/ladder)");
  sub->add_option("--device", bench->device)->check(CLI::IsMember({"cpu", "cuda"}))->capture_default_str();
  sub->add_option("--layer", bench->layer_name, "the first whose name is this, or whose shape contains it")
      ->capture_default_str();
  sub->add_option("--shapes", bench->shapes, "file of layers (bench/shapes)")->capture_default_str();
  sub->add_option("--extents", bench->extents, "D,H,W in place of the layer's")
      ->delimiter(',')
      ->expected(3)
      ->check(CLI::PositiveNumber);
  sub->add_option("--batch", bench->batch)->check(CLI::PositiveNumber)->capture_default_str();
  sub->add_option("--rung", bench->rung_name, "only this one, as in cuda3");
  sub->add_option("--threads", bench->threads, "0 takes all")->capture_default_str();
  sub->add_option("--runs", bench->runs, "at most")->check(CLI::PositiveNumber)->capture_default_str();
  sub->add_option("--warmup", bench->warmup)->check(CLI::NonNegativeNumber)->capture_default_str();
  sub->add_option("--seconds", bench->seconds, "a rung, about")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  sub->add_flag("--once", bench->once, "run once and time nothing: for profilers");
  sub->add_flag("--list", bench->list, "print names, titles and types");
  sub->add_option("--counts", bench->counts, "what to print of CUDA rungs without a GPU")
      ->capture_default_str();
  sub->callback([bench] { bench->run(); });
}

}  // namespace vg::bench
