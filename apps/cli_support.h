// What the subcommands share: options that several have, files of options, and input that is wrong.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/context.h"
#include "engine/tensor.h"

namespace vg::apps {

/// Registers one subcommand: its options and what it does. `exit_code` is set by commands that end with
/// another code than 0.
using Register = void (*)(CLI::App& app, int& exit_code);

void register_phantom(CLI::App& app, int& exit_code);
void register_train(CLI::App& app, int& exit_code);
void register_predict(CLI::App& app, int& exit_code);
void register_evaluate(CLI::App& app, int& exit_code);
void register_render(CLI::App& app, int& exit_code);
void register_info(CLI::App& app, int& exit_code);
void register_transform(CLI::App& app, int& exit_code);
void register_augment_preview(CLI::App& app, int& exit_code);

/// Runs the command line. Errors are one line on standard error. Returns the exit code: 0 done, 1 error, 2
/// wrong usage, 130 and 143 stopped by Ctrl-C and SIGTERM.
int run_cli(int argc, const char* const* argv);

/// --device, --threads and --conv.
struct DeviceOptions {
  std::string device = "auto";
  int threads = 0;               ///< 0: all
  std::string convolution = {};  ///< method of the CPU's convolutions; empty: automatic, or the environment's
};
void add_device_options(CLI::App& app, DeviceOptions& options);
/// Sets the number of threads and the method of convolutions and returns the device: `auto` takes a GPU if
/// there is one, and says through `notice` if there is none. Throws std::runtime_error if `cuda` is asked for
/// and not there.
Device choose_device(const DeviceOptions& options, const std::function<void(const std::string&)>& notice);

/// --precision: of activations.
void add_precision_option(CLI::App& app, std::string& precision);
/// `auto` is bfloat16 on a GPU that has it and float32 elsewhere; `tf32` is float32, and Context is told.
/// Throws std::runtime_error if tf32 or bfloat16 is asked for and not there.
DType choose_precision(const std::string& precision, Device device);

/// Sets the options of `app` that the command line did not give from a TOML file with `option = value` lines.
/// Throws std::runtime_error for an unknown key, naming the nearest one.
void apply_options_file(CLI::App& app, const std::filesystem::path& file);

/// "t1,t2" -> {"t1", "t2"}.
std::vector<std::string> split_commas(const std::string& text);

}  // namespace vg::apps
