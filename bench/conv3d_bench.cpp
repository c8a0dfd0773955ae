#include "bench/conv3d_bench.h"

#include <omp.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "bench/conv_layers.h"
#include "bench/harness.h"
#include "engine/context.h"
#include "engine/tensor.h"
#include "kernels/common/bfloat16.h"
#include "kernels/common/memory.h"
#include "kernels/common/simd.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_method.h"
#include "kernels/conv_transpose3d/conv_transpose3d.h"

namespace vg::bench {

namespace {

// Forward, input gradient and weight gradient of a layer on operands of its own, of type T. They are filled
// by copies from the host, so that a profile holds the kernels of the layer alone.
template <class T>
class LayerRun {
 public:
  LayerRun(const ConvLayer& layer, Device device)
      : layer_(layer),
        device_(device),
        convolution_{layer.in, layer.out, layer.kernel_size, layer.stride, layer.padding()},
        transposed_{layer.in, layer.out, layer.kernel_size, layer.stride, layer.padding(), layer.padding()},
        x_(activation(layer.d, layer.h, layer.w, layer.in)),
        y_(activation(output_extent(layer.d), output_extent(layer.h), output_extent(layer.w), layer.out)),
        weight_(Tensor::from_values({layer.in * layer.out * layer.taps()},
                                    std::vector<float>(weights(), 0.01f), device)),
        dweight_(Tensor::from_values({layer.in * layer.out * layer.taps()}, std::vector<float>(weights(), 0),
                                     device)) {
    fill(x_);
    fill(y_);
  }

  // Names of the algorithms that run on the CPU: forward, input gradient, weight gradient.
  std::array<const char*, 3> algorithms() {
    if (layer_.transposed || device_ != Device::cpu) return {"", "", ""};
    if constexpr (std::is_same_v<T, float>) {
      const auto x = x_.view<float>(), y = y_.view<float>();
      return {kernels::cpu::conv3d_forward_algorithm(y, x, convolution_),
              kernels::cpu::conv3d_backward_input_algorithm(x, y, convolution_),
              kernels::cpu::conv3d_backward_weight_algorithm(y, x, convolution_)};
    }
    return {"", "", ""};
  }
  double gflop() const {
    const auto strided = layer_.transposed ? x_.view<const T>() : y_.view<const T>();
    return 2e-9 * static_cast<double>(strided.voxels() * layer_.in * layer_.out * layer_.taps());
  }
  void run(const std::string& direction) {
    if (direction == "fprop") forward();
    if (direction == "dgrad") backward_input();
    if (direction == "wgrad") backward_weight();
    Context::get().synchronize(device_);
  }

 private:
  // The input gradient overwrites x, the forward pass y: their values do not matter.
  void forward() {
    if (layer_.transposed) {
      conv_transpose3d_forward(y_.view<T>(), x_.view<const T>(), weight(), nullptr, transposed_, exec());
    } else {
      conv3d_forward(y_.view<T>(), x_.view<const T>(), weight(), nullptr, convolution_, exec());
    }
  }
  void backward_input() {
    if (layer_.transposed) {
      conv_transpose3d_backward_input(x_.view<T>(), y_.view<const T>(), weight(), transposed_, exec());
    } else {
      conv3d_backward_input(x_.view<T>(), y_.view<const T>(), weight(), convolution_, exec());
    }
  }
  void backward_weight() {
    if (layer_.transposed) {
      conv_transpose3d_backward_weight(dweight_.data<float>(), y_.view<const T>(), x_.view<const T>(),
                                       transposed_, exec());
    } else {
      conv3d_backward_weight(dweight_.data<float>(), y_.view<const T>(), x_.view<const T>(), convolution_,
                             exec());
    }
  }

  Tensor activation(int64_t d, int64_t h, int64_t w, int64_t c) const {
    return Tensor::activation(layer_.batch, d, h, w, c, device_, dtype_of<T>());
  }
  void fill(const Tensor& tensor) const {
    const View<T> view = tensor.view<T>();
    std::vector<T> row(static_cast<size_t>(view.w * view.c));
    for (size_t i = 0; i < row.size(); ++i)
      row[i] = kernels::from_float<T>(0.25f * static_cast<float>(i % 7) - 0.75f);
    for (int64_t i = 0; i < view.n * view.d * view.h; ++i)
      kernels::copy_memory(view.row(i), device_, row.data(), Device::cpu, row.size() * sizeof(T),
                           exec().stream);
  }
  const float* weight() const { return weight_.data<const float>(); }
  size_t weights() const { return static_cast<size_t>(layer_.in * layer_.out * layer_.taps()); }
  kernels::Exec exec() const { return Context::get().exec(device_); }
  int64_t output_extent(int64_t extent) const {
    return layer_.transposed ? kernels::conv_transpose3d_output_extent(extent, transposed_)
                             : kernels::conv3d_output_extent(extent, convolution_);
  }

  ConvLayer layer_;
  Device device_;
  kernels::Conv3dParams convolution_;
  kernels::ConvTranspose3dParams transposed_;
  Tensor x_, y_, weight_, dweight_;
};

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Conv3dBench {
  std::string filter, layer_name, method = "auto", device = "cpu", dtype = "fp32", direction = "all",
                                  shapes = VG_BENCH_SHAPES;
  int threads = 0, runs = 10, warmup = 2;
  int64_t batch = 1;
  bool cpu_time = false, once = false;

  bool on_cpu() const { return device == "cpu"; }

  double fastest(const std::function<void()>& body) const {
    if (!cpu_time) return measure(body, warmup, runs).fastest;
    double best = 0;
    for (int i = 0; i < warmup + runs; ++i) {
      const double start = cpu_seconds();
      body();
      const double seconds = cpu_seconds() - start;
      if (i == warmup || (i > warmup && seconds < best)) best = seconds;
    }
    return best;
  }

  template <class T>
  void run_layer(const ConvLayer& layer) const {
    LayerRun<T> layer_run(layer, on_cpu() ? Device::cpu : Device::cuda);
    const auto algorithms = layer_run.algorithms();
    const char* const directions[] = {"fprop", "dgrad", "wgrad"};
    std::printf("%-15s %-32s", layer.name.c_str(), layer.label().c_str());
    for (size_t i = 0; i < std::size(directions); ++i) {
      if (!layer.has(directions[i]) || (direction != "all" && direction != directions[i])) {
        std::printf(" %26s", "-");
        continue;
      }
      if (once) {
        layer_run.run(directions[i]);
        std::printf(" %26s", "done");
        continue;
      }
      const double seconds = fastest([&] { layer_run.run(directions[i]); });
      std::printf(" %10s %8.2f %6.0f", algorithms[i], 1e3 * seconds, layer_run.gflop() / seconds);
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  void choose_method() const {
    using kernels::cpu::ConvolutionMethod;
    for (const auto candidate :
         {ConvolutionMethod::automatic, ConvolutionMethod::direct, ConvolutionMethod::winograd}) {
      if (method == kernels::cpu::convolution_method_name(candidate))
        kernels::cpu::force_convolution_method(candidate);
    }
  }

  void print_head() const {
    if (on_cpu()) {
      omp_set_num_threads(cpu_time ? 1 : (threads > 0 ? threads : omp_get_max_threads()));
      std::printf("%s, %d threads, ", kernels::cpu::isa_name(kernels::cpu::active_isa()),
                  omp_get_max_threads());
      if (!cpu_time && !once) std::printf("measured FMA peak %.0f GFLOP/s, ", fma_peak_gflops());
    } else {
      std::printf("CUDA, %s, ", dtype.c_str());
    }
    std::printf(once ? "one run, not timed\n" : "fastest of %d runs in ms and GFLOP/s\n", runs);
    std::printf("%-48s %26s %26s %26s\n", "input", "forward", "input gradient", "weight gradient");
  }

  void run() const {
    if (on_cpu() && dtype != "fp32") throw std::runtime_error("--dtype " + dtype + ": on CUDA only");
    if (std::string reason; !on_cpu() && !cuda_available(&reason))
      throw std::runtime_error("--device cuda: no usable GPU (" + reason + ")");
    choose_method();
    std::vector<ConvLayer> chosen;
    for (ConvLayer layer : read_conv_layers(shapes)) {
      if (!layer_name.empty() && layer.name != layer_name) continue;
      if (batch > 0) layer.batch = batch;
      if (layer.label().find(filter) != std::string::npos) chosen.push_back(layer);
    }
    if (chosen.empty()) throw std::runtime_error("no layer of " + shapes + " has this name");
    print_head();
    for (const ConvLayer& layer : chosen)
      dtype == "bf16" ? run_layer<bfloat16>(layer) : run_layer<float>(layer);
  }
};

}  // namespace

void register_conv3d(CLI::App& app) {
  const auto bench = std::make_shared<Conv3dBench>();
  CLI::App* sub = app.add_subcommand("conv3d", "the convolutions of the seed's network");
  sub->add_option("--shapes", bench->shapes, "file of layers (bench/shapes)")->capture_default_str();
  sub->add_option("--layer", bench->layer_name, "only the layer of this name");
  sub->add_option("--filter", bench->filter, "only layers whose shape contains this, as in '16->16'");
  sub->add_option("--direction", bench->direction)
      ->check(CLI::IsMember({"all", "fprop", "dgrad", "wgrad"}))
      ->capture_default_str();
  sub->add_option("--device", bench->device)->check(CLI::IsMember({"cpu", "cuda"}))->capture_default_str();
  sub->add_option("--dtype", bench->dtype)->check(CLI::IsMember({"fp32", "bf16"}))->capture_default_str();
  sub->add_option("--batch", bench->batch, "0: that of the file")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->add_flag("--once", bench->once, "run once and time nothing: for profilers");
  sub->add_option("--method", bench->method,
                  "of kernels of 3 with stride 1 on the CPU; GFLOP/s stay those of the direct one")
      ->check(CLI::IsMember({"auto", "direct", "winograd"}))
      ->capture_default_str();
  sub->add_option("--threads", bench->threads, "0 takes all")->capture_default_str();
  sub->add_option("--runs", bench->runs)->check(CLI::PositiveNumber)->capture_default_str();
  sub->add_option("--warmup", bench->warmup)->check(CLI::NonNegativeNumber)->capture_default_str();
  sub->add_flag("--cpu-time", bench->cpu_time,
                "CPU time of one thread: hardly disturbed by other work on the machine");
  sub->callback([bench] { bench->run(); });
}

}  // namespace vg::bench
