#include <memory>

#include "apps/cli_support.h"
#include "data/nifti_io.h"
#include "data/preprocessing.h"

namespace vg::apps {

namespace {

struct TransformCommand {
  std::string input, output, steps, type = "float32";
  bool labels = false;

  void run() const {
    const data::Warn warn = [](const std::string& line) {
      std::fprintf(stderr, "warning: %s\n", line.c_str());
    };
    const data::Preprocessing preprocessing = data::Preprocessing::parse(steps);
    if (labels) {
      data::write_label_map(output, preprocessing.apply(data::read_label_map(input, warn)));
      return;
    }
    const data::VoxelType voxels = type == "int16"   ? data::VoxelType::int16
                                   : type == "uint8" ? data::VoxelType::uint8
                                                     : data::VoxelType::float32;
    data::write_image(output, preprocessing.apply(data::read_image(input, warn), warn), voxels);
  }
};

}  // namespace

void register_transform(CLI::App& app, int& /*exit_code*/) {
  const auto command = std::make_shared<TransformCommand>();
  CLI::App* sub = app.add_subcommand("transform", "apply preprocessing steps to one NIfTI file");
  sub->add_option("input", command->input, "NIfTI file")->required();
  sub->add_option("output", command->output, "NIfTI file; .nii.gz compresses")->required();
  sub->add_option("--apply", command->steps, "steps, separated by spaces, or a preset: seed")->required();
  sub->add_flag("--labels", command->labels,
                "the file is a label map: nearest neighbour, intensities left alone");
  sub->add_option("--type", command->type, "voxel type of the output")
      ->check(CLI::IsMember({"float32", "int16", "uint8"}))
      ->capture_default_str();
  sub->footer(
      "Steps: to_canonical, rescale(min,max[,percentile,percentile][,nonzero]), z_normalize[(nonzero)], "
      "crop(6 numbers),\n"
      "pad(6 numbers), resample(mm), shape_multiple(n).\n"
      "Examples:\n"
      "  voxgrad transform flair.nii.gz out.nii.gz --apply \"resample(1.5)\"\n"
      "  voxgrad transform seg.nii.gz out.nii.gz --labels --apply \"to_canonical crop(45,45,17,35,13,24) "
      "resample(1.5)\"");
  sub->callback([command] { command->run(); });
}

}  // namespace vg::apps
