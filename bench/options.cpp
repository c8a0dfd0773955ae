#include "bench/options.h"

#include <omp.h>

#include <stdexcept>

#include "bench/opponents/opponent.h"
#include "kernels/conv3d/conv3d_method.h"

namespace vg::bench {

bool Options::wants(const std::string& name, const std::string& shape) const {
  if (!layer.empty() && layer != name) return false;
  return name.find(filter) != std::string::npos || shape.find(filter) != std::string::npos;
}

void Options::apply() const {
  if (where() == Device::cpu && dtype != "float32" && !(bfloat16_products && dtype == "bf16"))
    throw std::runtime_error("--dtype " + dtype + ": on CUDA only");
  if (opponent != "none") {
    require_opponent(opponent);
    if ((where() == Device::cpu) != (opponent == "onednn"))
      throw std::runtime_error("--opponent " + opponent + ": not with --device " + device);
  }
  if (std::string reason; where() == Device::cuda && !cuda_available(&reason))
    throw std::runtime_error("--device cuda: no CUDA device: " + reason);
  if (cpu_time && where() != Device::cpu) throw std::runtime_error("--cpu-time: on the CPU only");
  omp_set_num_threads(cpu_time ? 1 : threads > 0 ? threads : omp_get_num_procs());
  if (method != "auto") kernels::cpu::force_convolution_method(kernels::cpu::convolution_method(method));
  Context::get().set_allow_tf32(dtype == "tf32");
}

void add_run_options(CLI::App& subcommand, Options& options) {
  subcommand.add_option("--device", options.device)
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  subcommand
      .add_option("--dtype,--precision", options.dtype,
                  "of activations; tf32 and bf16 on CUDA; for infer on the CPU bf16 is that of products")
      ->transform(CLI::Transformer({{"fp32", "float32"}, {"bfloat16", "bf16"}}))
      ->check(CLI::IsMember({"float32", "tf32", "bf16"}))
      ->capture_default_str();
  subcommand
      .add_option("--conv,--method", options.method,
                  "of kernels of 3 with stride 1 on the CPU; GFLOP/s stay those of the direct one")
      ->check(CLI::IsMember({"auto", "direct", "winograd"}))
      ->capture_default_str();
  subcommand.add_option("--threads", options.threads, "of the CPU; 0 takes all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  subcommand.add_option("--runs", options.runs)->check(CLI::PositiveNumber)->capture_default_str();
  subcommand.add_option("--warmup", options.warmup)->check(CLI::NonNegativeNumber)->capture_default_str();
  subcommand.add_option("--json", options.json, "also write the figures to this file");
}

void add_race_options(CLI::App& subcommand, Options& options) {
  add_run_options(subcommand, options);
  options.shapes = VG_BENCH_SHAPES;
  subcommand.add_option("--shapes", options.shapes, "file of layers (bench/shapes)")->capture_default_str();
  subcommand.add_option("--layer", options.layer, "only the row of this name");
  subcommand.add_option("--filter", options.filter, "only rows whose name or shape contains this");
  subcommand.add_option("--direction", options.direction)
      ->check(CLI::IsMember({"all", "fprop", "dgrad", "wgrad"}))
      ->capture_default_str();
  subcommand.add_option("--batch", options.batch, "0: that of the shape file")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  subcommand.add_option("--opponent", options.opponent, "the library to race against")
      ->check(CLI::IsMember({"cudnn", "cublas", "onednn", "none"}))
      ->capture_default_str();
  subcommand.add_option("--csv", options.csv, "also write the rows to this file");
  subcommand.add_flag("--once", options.once, "run once, check and time nothing: for profilers");
  subcommand.add_flag("--cpu-time", options.cpu_time,
                      "CPU time of one thread: hardly disturbed by other work on the machine");
  subcommand.add_flag("!--no-check", options.check, "do not compare with sums in double before timing");
}

}  // namespace vg::bench
