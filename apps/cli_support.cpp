#include "apps/cli_support.h"

#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "data/nearest_name.h"
#include "kernels/conv3d/conv3d_method.h"

namespace vg::apps {

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> parts;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

void add_device_options(CLI::App& app, DeviceOptions& options) {
  app.add_option("--device", options.device, "where to compute: cpu, cuda, or auto (a GPU if there is one)")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; 0 takes all")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("--conv", options.convolution,
                 "3x3x3 convolutions on the CPU: direct, winograd (a third of the time, other rounding), or "
                 "auto (winograd where it is faster)")
      ->check(CLI::IsMember({"auto", "direct", "winograd"}));
}

Device choose_device(const DeviceOptions& options, const std::function<void(const std::string&)>& notice) {
  if (options.threads > 0) omp_set_num_threads(options.threads);
  if (!options.convolution.empty())
    kernels::cpu::force_convolution_method(kernels::cpu::convolution_method(options.convolution));
  if (options.device == "cpu") return Device::cpu;
  std::string reason;
  if (cuda_available(&reason)) return Device::cuda;
  if (options.device == "cuda") {
    throw std::runtime_error("--device cuda: no usable GPU (" + reason +
                             "); use --device cpu, or check the driver with nvidia-smi");
  }
  notice("computing on the CPU (" + reason + ")");
  return Device::cpu;
}

void add_precision_option(CLI::App& app, std::string& precision) {
  app.add_option(
         "--precision", precision,
         "of activations: float32; tf32 (float32, but convolutions multiply with 10 bits of mantissa, "
         "CUDA); bfloat16 (CUDA; weights, sums and losses stay float32; predict takes it also on a CPU with "
         "AVX512_BF16, for what convolutions multiply); auto (bfloat16 on GPUs that have it, from compute "
         "capability 8.0)")
      ->check(CLI::IsMember({"auto", "float32", "tf32", "bfloat16"}))
      ->capture_default_str();
}

DType choose_precision(const std::string& precision, Device device) {
  if (precision == "float32") return DType::float32;
  const bool tensor_cores = device == Device::cuda && cuda_has_bfloat16(), automatic = precision == "auto";
  if (!tensor_cores && !automatic) {
    throw std::runtime_error(
        "--precision " + precision +
        (device == Device::cpu ? ": needs a GPU; on the CPU use --precision float32"
                               : ": this GPU has no tensor cores for it (compute capability below 8.0); use "
                                 "--precision float32"));
  }
  Context::get().set_allow_tf32(precision == "tf32");
  return tensor_cores && precision != "tf32" ? DType::bfloat16 : DType::float32;
}

void apply_options_file(CLI::App& app, const std::filesystem::path& file) {
  std::ifstream stream(file);
  if (!stream) throw std::runtime_error(file.string() + ": cannot be read; check the path");
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_lnames().empty()) known.push_back(option->get_lnames().front());
  }
  for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(stream)) {
    if (item.name == "++" || item.name == "--") continue;  // CLI11's marks of sections
    CLI::Option* option = app.get_option_no_throw("--" + item.name);
    if (option == nullptr || !item.parents.empty()) {
      throw std::runtime_error(file.string() + ": unknown key '" + item.fullname() + "'; did you mean '" +
                               data::nearest_name(item.name, known) + "'?");
    }
    if (option->count() > 0) continue;  // the command line wins
    try {
      if (option->get_expected_max() == 0) {
        option->add_result(app.get_config_formatter()->to_flag(item));
      } else {
        option->add_result(item.inputs);
      }
      option->run_callback();
    } catch (const CLI::Error& error) {
      throw std::runtime_error(file.string() + ": key '" + item.name + "': " + error.what());
    }
  }
}

int run_cli(int argc, const char* const* argv) {
  CLI::App app(
      "voxgrad: brain tumour segmentation on multi-modal MRI with a 3D Attention U-Net, on a GPU or a CPU "
      "alone",
      "voxgrad");
  app.require_subcommand(1);
  app.option_defaults()->take_last();  // of an option given twice the last counts, as shells' users expect
  app.option_defaults()->always_capture_default();
  app.set_version_flag("--version", VOXGRAD_VERSION);
  app.footer(
      "Exit codes: 0 done, 1 error, 2 wrong usage, 130 and 143 stopped by Ctrl-C and SIGTERM (state saved).\n"
      "'voxgrad COMMAND --help' shows the options and examples of a command.");
  int exit_code = 0;
  for (const Register command :
       {register_phantom, register_train, register_predict, register_evaluate, register_render,
        register_transform, register_augment_preview, register_info}) {
    command(app, exit_code);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    if (const std::vector<std::string> rest = app.remaining();
        app.get_subcommands().empty() && !rest.empty()) {
      std::vector<std::string> names;
      for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
      std::fprintf(stderr, "voxgrad: unknown command '%s'; did you mean '%s'?\n", rest.front().c_str(),
                   data::nearest_name(rest.front(), names).c_str());
      return 2;
    }
    std::fprintf(
        stderr, "voxgrad: %s; see 'voxgrad%s --help'\n", error.what(),
        app.get_subcommands().empty() ? "" : (" " + app.get_subcommands().front()->get_name()).c_str());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "voxgrad: error: %s\n", error.what());
    return 1;
  }
  return exit_code;
}

}  // namespace vg::apps
