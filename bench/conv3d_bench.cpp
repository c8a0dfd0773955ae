#include "bench/conv3d_bench.h"

#include <omp.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness.h"
#include "engine/rng.h"
#include "engine/tensor.h"
#include "kernels/common/simd.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/conv3d/conv3d_method.h"
#include "kernels/conv_transpose3d/conv_transpose3d.h"

namespace vg::bench {

namespace {

// Extents of the input.
struct Layer {
  bool transposed;
  int kernel_size, stride;
  int64_t in, out, d, h, w;

  int padding() const { return (kernel_size - 1) / 2; }
  std::string name() const {
    return std::string(transposed ? "transposed " : "") + "k" + std::to_string(kernel_size) + " s" +
           std::to_string(stride) + ' ' + std::to_string(in) + "->" + std::to_string(out) + ' ' +
           std::to_string(d) + 'x' + std::to_string(h) + 'x' + std::to_string(w);
  }
};

const Layer layers[] = {
    {false, 3, 1, 4, 16, 112, 128, 80},  {false, 3, 1, 16, 16, 112, 128, 80},
    {false, 3, 1, 32, 16, 112, 128, 80}, {false, 3, 1, 32, 32, 56, 64, 40},
    {false, 3, 1, 64, 32, 56, 64, 40},   {false, 3, 1, 64, 64, 28, 32, 20},
    {false, 3, 1, 128, 64, 28, 32, 20},  {false, 3, 1, 128, 128, 14, 16, 10},
    {false, 3, 1, 256, 128, 14, 16, 10}, {false, 3, 1, 256, 256, 7, 8, 5},
    {false, 3, 2, 16, 32, 112, 128, 80}, {false, 3, 2, 32, 64, 56, 64, 40},
    {false, 3, 2, 64, 128, 28, 32, 20},  {false, 3, 2, 128, 256, 14, 16, 10},
    {true, 3, 2, 32, 16, 56, 64, 40},    {true, 3, 2, 64, 32, 28, 32, 20},
    {true, 3, 2, 128, 64, 14, 16, 10},   {true, 3, 2, 256, 128, 7, 8, 5},
    {true, 2, 2, 32, 16, 56, 64, 40},    {false, 1, 1, 16, 8, 112, 128, 80},
    {false, 1, 1, 8, 1, 112, 128, 80},   {false, 1, 1, 16, 4, 112, 128, 80},
};

// Forward, input gradient and weight gradient of a layer on operands of its own.
class LayerRun {
 public:
  explicit LayerRun(const Layer& layer)
      : layer_(layer),
        convolution_{layer.in, layer.out, layer.kernel_size, layer.stride, layer.padding()},
        transposed_{layer.in, layer.out, layer.kernel_size, layer.stride, layer.padding(), layer.padding()},
        x_(activation(layer.d, layer.h, layer.w, layer.in)),
        dx_(activation(layer.d, layer.h, layer.w, layer.in)),
        y_(activation(output_extent(layer.d), output_extent(layer.h), output_extent(layer.w), layer.out)),
        weight_(static_cast<size_t>(layer.in * layer.out * taps()), 0.01f),
        dweight_(weight_.size(), 0) {
    Rng rng(1);
    rng.normal(x_, 0, 1);
    rng.normal(y_, 0, 1);
  }

  // Names of the algorithms that run: forward, input gradient, weight gradient.
  std::array<const char*, 3> algorithms() {
    if (layer_.transposed) return {"direct", "direct", "direct"};
    const auto x = x_.view<float>(), y = y_.view<float>();
    return {kernels::cpu::conv3d_forward_algorithm(y, x, convolution_),
            kernels::cpu::conv3d_backward_input_algorithm(x, y, convolution_),
            kernels::cpu::conv3d_backward_weight_algorithm(y, x, convolution_)};
  }
  double gflop() const {
    const View<const float> strided = (layer_.transposed ? x_ : y_).view<const float>();
    return 2e-9 * static_cast<double>(strided.voxels() * layer_.in * layer_.out * taps());
  }
  void forward() {
    const auto y = y_.view<float>();
    const auto x = x_.view<const float>();
    if (layer_.transposed) {
      conv_transpose3d_forward(y, x, weight_.data(), nullptr, transposed_, exec_);
    } else {
      conv3d_forward(y, x, weight_.data(), nullptr, convolution_, exec_);
    }
  }
  void backward_input() {
    const auto dx = dx_.view<float>();
    const auto dy = y_.view<const float>();
    if (layer_.transposed) {
      conv_transpose3d_backward_input(dx, dy, weight_.data(), transposed_, exec_);
    } else {
      conv3d_backward_input(dx, dy, weight_.data(), convolution_, exec_);
    }
  }
  void backward_weight() {
    const auto dy = y_.view<const float>(), x = x_.view<const float>();
    if (layer_.transposed) {
      conv_transpose3d_backward_weight(dweight_.data(), dy, x, transposed_, exec_);
    } else {
      conv3d_backward_weight(dweight_.data(), dy, x, convolution_, exec_);
    }
  }

 private:
  static Tensor activation(int64_t d, int64_t h, int64_t w, int64_t c) {
    return Tensor::activation(1, d, h, w, c, Device::cpu);
  }
  int64_t taps() const { return int64_t{layer_.kernel_size} * layer_.kernel_size * layer_.kernel_size; }
  int64_t output_extent(int64_t extent) const {
    return layer_.transposed ? kernels::conv_transpose3d_output_extent(extent, transposed_)
                             : kernels::conv3d_output_extent(extent, convolution_);
  }

  Layer layer_;
  kernels::Conv3dParams convolution_;
  kernels::ConvTranspose3dParams transposed_;
  Tensor x_, dx_, y_;
  std::vector<float> weight_, dweight_;
  kernels::Workspace workspace_{kernels::DeviceKind::cpu};
  kernels::Exec exec_{kernels::DeviceKind::cpu, nullptr, &workspace_};
};

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Conv3dBench {
  std::string filter, method = "auto";
  int threads = 0, runs = 10, warmup = 2;
  bool cpu_time = false;

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

  void run() const {
    using kernels::cpu::ConvolutionMethod;
    for (const auto candidate :
         {ConvolutionMethod::automatic, ConvolutionMethod::direct, ConvolutionMethod::winograd}) {
      if (method == kernels::cpu::convolution_method_name(candidate))
        kernels::cpu::force_convolution_method(candidate);
    }
    omp_set_num_threads(cpu_time ? 1 : (threads > 0 ? threads : omp_get_max_threads()));
    std::printf("%s, %d threads, ", kernels::cpu::isa_name(kernels::cpu::active_isa()),
                omp_get_max_threads());
    if (!cpu_time) std::printf("measured FMA peak %.0f GFLOP/s, ", fma_peak_gflops());
    std::printf("fastest of %d runs in ms and GFLOP/s\n", runs);
    std::printf("%-32s %26s %26s %26s\n", "input", "forward", "input gradient", "weight gradient");
    for (const Layer& layer : layers) {
      if (layer.name().find(filter) == std::string::npos) continue;
      LayerRun layer_run(layer);
      const double seconds[] = {fastest([&] { layer_run.forward(); }),
                                fastest([&] { layer_run.backward_input(); }),
                                fastest([&] { layer_run.backward_weight(); })};
      std::printf("%-32s", layer.name().c_str());
      const auto names = layer_run.algorithms();
      for (size_t i = 0; i < names.size(); ++i)
        std::printf(" %10s %8.2f %6.0f", names[i], 1e3 * seconds[i], layer_run.gflop() / seconds[i]);
      std::printf("\n");
      std::fflush(stdout);
    }
  }
};

}  // namespace

void register_conv3d(CLI::App& app) {
  const auto bench = std::make_shared<Conv3dBench>();
  CLI::App* sub = app.add_subcommand("conv3d", "the convolutions of the seed's network on the CPU");
  sub->add_option("--filter", bench->filter, "only layers whose name contains this");
  sub->add_option("--method", bench->method,
                  "of kernels of 3 with stride 1; GFLOP/s stay those of the direct one")
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
