// Options that all subcommands of voxgrad-bench share: declared, described and checked once.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "engine/tensor.h"

namespace vg::bench {

struct Options {
  std::string device = "cpu";     ///< cpu | cuda
  std::string dtype = "float32";  ///< of activations: float32 | tf32 | bf16
  std::string opponent = "none";  ///< cudnn | cublas | onednn | none
  std::string shapes;             ///< file of layers; by default bench/shapes/attention_unet.txt
  std::string layer;              ///< only the one of this name
  std::string filter;             ///< only those whose name or shape contains this
  std::string direction = "all";  ///< fprop | dgrad | wgrad | all
  std::string method = "auto";    ///< of the CPU's convolutions, see kernels/conv3d/conv3d_method.h
  std::string csv, json;          ///< files to write the rows to as well
  int64_t batch = 1;              ///< 0: that of the shape file
  int threads = 0;                ///< of the CPU; 0 takes all
  int runs = 10, warmup = 2;
  bool once = false;      ///< one run, nothing checked or timed: for profilers
  bool cpu_time = false;  ///< of one thread, in place of the clock
  bool check = true;      ///< results against sums in double, before timing
  /// bf16 with the CPU is the type that convolutions multiply: for inference.
  bool bfloat16_products = false;

  Device where() const { return device == "cuda" ? Device::cuda : Device::cpu; }
  /// Of activations: bfloat16 for bf16, else float32.
  DType type() const { return dtype == "bf16" ? DType::bfloat16 : DType::float32; }
  /// True if neither `layer` nor `filter` leaves it out.
  bool wants(const std::string& name, const std::string& shape) const;
  bool wants_direction(const std::string& name) const { return direction == "all" || direction == name; }
  /// Sets the number of threads, the method of convolutions and TF32, and throws std::runtime_error if
  /// device, type or opponent cannot be had: without a GPU "no CUDA device: ..." and the reason.
  void apply() const;
};

/// --device, --dtype, --conv, --threads, --runs, --warmup, --json: what a whole step takes too.
void add_run_options(CLI::App& subcommand, Options& options);
/// ... and what races over a list of shapes take: --shapes, --layer, --filter, --direction, --batch,
/// --opponent, --csv, --once, --no-check.
void add_race_options(CLI::App& subcommand, Options& options);

}  // namespace vg::bench
