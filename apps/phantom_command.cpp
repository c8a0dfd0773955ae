#include <memory>

#include "apps/cli_support.h"
#include "apps/terminal.h"
#include "data/phantom.h"

namespace vg::apps {

namespace {

struct PhantomCommand {
  std::string folder;
  data::PhantomOptions options;
  DeviceOptions device;
  bool quiet = false;

  void run() const {
    Terminal terminal(quiet);
    (void)choose_device({"cpu", device.threads}, {});
    Pace pace(options.count);
    data::make_phantom_dataset(
        folder, options,
        [&](int64_t, int64_t, const std::string& subject) {
          pace.advance();
          terminal.status("phantom " + pace.text() + "  " + subject);
        },
        [&](const std::string& line) { terminal.warn(line); });
    terminal.say(std::to_string(options.count) + " subjects in " + folder + " (" +
                 format_duration(pace.seconds()) + ")");
  }
};

}  // namespace

void register_phantom(CLI::App& app, int& /*exit_code*/) {
  const auto command = std::make_shared<PhantomCommand>();
  CLI::App* sub = app.add_subcommand(
      "phantom", "make a data set in BraTS 2020's layout by growing tumours in a real brain scan");
  sub->add_option("folder", command->folder, "where the data set is written")->required();
  sub->add_option("-n,--subjects", command->options.count, "number of subjects")
      ->check(CLI::Range(1, 999))
      ->capture_default_str();
  sub->add_option("--seed", command->options.seed, "same seed, same files")->capture_default_str();
  sub->add_option("--first", command->options.first_index, "number of the first subject")
      ->check(CLI::Range(1, 999))
      ->capture_default_str();
  sub->add_option(
      "--anatomy", command->options.anatomy,
      "a skull-stripped T1 brain (NIfTI); default: ch2bet of Debian's mricron-data, else a procedural brain");
  sub->add_flag("--procedural", command->options.procedural, "use the procedural brain in any case");
  sub->add_option("--voxel-size", command->options.voxel_size, "mm; larger voxels make smaller volumes")
      ->check(CLI::Range(0.5, 8.0))
      ->capture_default_str();
  sub->add_option("--threads", command->device.threads, "CPU threads; 0 takes all")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  sub->add_flag("-q,--quiet", command->quiet, "print nothing but errors and warnings");
  sub->footer(
      "Examples:\n  voxgrad phantom data --subjects 24\n  voxgrad phantom small --subjects 4 --voxel-size 5 "
      "--seed 7");
  sub->callback([command] { command->run(); });
}

}  // namespace vg::apps
