#include <algorithm>
#include <memory>
#include <optional>

#include "apps/cli_support.h"
#include "data/augmentation.h"
#include "data/nearest_name.h"
#include "data/nifti_io.h"
#include "data/preprocessing.h"

namespace vg::apps {

namespace {

// True for a transform of augmentation, false for a step of preprocessing.
bool is_augmentation(const data::Call& call) {
  const auto has = [&](const std::vector<std::string>& names) {
    return std::find(names.begin(), names.end(), call.name) != names.end();
  };
  std::vector<std::string> names = data::preprocessing_names();
  if (has(names)) return false;
  const std::vector<std::string> more = data::augmentation_names();
  if (has(more)) return true;
  names.insert(names.end(), more.begin(), more.end());
  throw std::invalid_argument("transform \"" + call.name + "\" is not known; did you mean \"" +
                              data::nearest_name(call.name, names) + "\"? See voxgrad transform --list");
}

void print_parameters(const std::string& name, std::span<const data::ParameterSpec> parameters) {
  std::printf("  %s\n", name.c_str());
  for (const data::ParameterSpec& parameter : parameters) {
    const std::string fallback = parameter.fallback.empty() ? "needed" : std::string(parameter.fallback);
    std::printf("      %-20s %-10s %s\n", std::string(parameter.name).c_str(), fallback.c_str(),
                std::string(parameter.meaning).c_str());
  }
}

void print_list() {
  std::printf(
      "Preprocessing:\n"
      "  to_canonical, rescale(min,max[,percentile,percentile][,nonzero]), z_normalize[(nonzero)],\n"
      "  crop(6 numbers), pad(6 numbers), resample(mm or 3 of them), shape_multiple(n or 3 of them);\n"
      "  presets: seed, brats\n"
      "Augmentation (parameter, default, meaning); each also takes p, the probability that it is applied:\n");
  for (const data::TransformKind& kind : data::transform_kinds()) {
    std::printf("%s: %s%s\n", std::string(kind.name).c_str(), std::string(kind.summary).c_str(),
                kind.labels == nullptr ? "" : "; moves labels too");
    print_parameters(std::string(kind.name), kind.parameters);
    print_parameters("random_" + std::string(kind.name), kind.random_parameters);
  }
  std::printf(
      "one_of(a, b, ... [,weights=(1,2,...)]): one of them\n"
      "compose(a, b, ...): all of them\n");
}

// A transform as it was read: a step of preprocessing, or augmentation.
struct Item {
  std::string text;
  std::optional<data::Preprocessing> step;
  data::Augmentation augmentation;
};

std::vector<Item> parse_items(const std::string& text) {
  std::vector<Item> items;
  for (const data::Call& call : data::parse_calls(text)) {
    if (is_augmentation(call)) {
      items.push_back({call.text, std::nullopt, data::Augmentation::parse(call)});
    } else {
      items.push_back({call.text, data::Preprocessing::parse(call.text), {}});
    }
  }
  return items;
}

struct TransformCommand {
  std::string input, output, steps, type = "float32";
  uint64_t seed = 0;
  bool labels = false, list = false, quiet = false;

  // All transforms in order, on an image or a label map. Random ones draw in the order of the text.
  template <class T>
  data::Volume<T> transformed(data::Volume<T> volume, const std::vector<Item>& items,
                              const data::Warn& warn) const {
    data::Draws draws(seed, 0);
    for (const Item& item : items) {
      if (item.step) {
        if constexpr (std::is_same_v<T, float>) {
          volume = item.step->apply(volume, warn);
        } else {
          volume = item.step->apply(volume);
        }
        continue;
      }
      const auto transforms = item.augmentation.draw(1, draws);
      for (const data::AppliedTransform& transform : transforms) {
        if (!quiet && transform.text() != item.text) std::printf("%s\n", transform.text().c_str());
      }
      volume = data::apply_transforms(transforms, volume);
    }
    return volume;
  }

  void run() const {
    if (list) return print_list();
    if (input.empty() || output.empty() || steps.empty())
      throw std::runtime_error("transform: expected INPUT OUTPUT --apply \"...\", or --list; see --help");
    const std::vector<Item> items = parse_items(steps);
    const data::Warn warn = [this](const std::string& line) {
      if (!quiet) std::fprintf(stderr, "warning: %s\n", line.c_str());
    };
    if (labels) {
      data::write_label_map(output, transformed(data::read_label_map(input, warn), items, warn));
      return;
    }
    const data::VoxelType voxels = type == "int16"   ? data::VoxelType::int16
                                   : type == "uint8" ? data::VoxelType::uint8
                                                     : data::VoxelType::float32;
    data::write_image(output, transformed(data::read_image(input, warn), items, warn), voxels);
  }
};

}  // namespace

void register_transform(CLI::App& app, int& /*exit_code*/) {
  const auto command = std::make_shared<TransformCommand>();
  CLI::App* sub = app.add_subcommand("transform", "apply preprocessing and augmentation to one NIfTI file");
  sub->add_option("input", command->input, "NIfTI file");
  sub->add_option("output", command->output, "NIfTI file; .nii.gz compresses");
  sub->add_option("--apply", command->steps,
                  "transforms, separated by blanks, in the order in which they are applied");
  sub->add_flag("--list", command->list, "print all transforms with their parameters and defaults");
  sub->add_option("--seed", command->seed, "of random transforms: same seed, same result")
      ->capture_default_str();
  sub->add_flag("--labels", command->labels,
                "the file is a label map: nearest neighbour, intensities left alone");
  sub->add_option("--type", command->type, "voxel type of the output")
      ->check(CLI::IsMember({"float32", "int16", "uint8"}))
      ->capture_default_str();
  sub->add_flag("-q,--quiet", command->quiet, "do not print what random transforms drew");
  sub->footer(
      "Random transforms print what they drew, as text that --apply takes. A spatial transform with the same "
      "--seed "
      "does\nthe same to a subject's images and, with --labels, to its labels.\n"
      "Examples:\n"
      "  voxgrad transform --list\n"
      "  voxgrad transform flair.nii.gz out.nii.gz --apply \"resample(1.5)\"\n"
      "  voxgrad transform t1.nii.gz out.nii.gz --apply \"ghosting(num_ghosts=6,axis=1,intensity=0.5)\"\n"
      "  voxgrad transform t1.nii.gz out.nii.gz --seed 3 --apply \"seed random_elastic() "
      "random_gamma(p=0.5)\"\n"
      "  voxgrad transform seg.nii.gz out.nii.gz --labels --apply \"to_canonical crop(45,45,17,35,13,24) "
      "resample(1.5)\"");
  sub->callback([command] { command->run(); });
}

}  // namespace vg::apps
