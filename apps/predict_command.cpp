#include <memory>
#include <optional>

#include "apps/cli_support.h"
#include "apps/predictor.h"
#include "apps/terminal.h"
#include "data/nifti_io.h"
#include "data/split.h"
#include "engine/safetensors.h"
#include "kernels/conv3d/conv3d_inference.h"

namespace vg::apps {

namespace {

struct PredictCommand {
  std::string checkpoint, input, output, channels, preprocessing, schema, split_file, part = "validation";
  int year = 2020;
  std::string precision = "auto", tile = "auto";
  bool probabilities = false, quiet = false;
  DeviceOptions device_options;

  [[nodiscard]] bool raw() const { return input.ends_with(".safetensors"); }

  // Fills in what the file does not say, from the command line; never guesses.
  [[nodiscard]] ModelFile complete_model() const {
    ModelFile model = load_model_file(checkpoint);
    ModelDescription& d = model.description;
    if (!channels.empty()) d.channels = split_commas(channels);
    if (!preprocessing.empty()) d.preprocessing = preprocessing;
    if (!schema.empty()) d.label_schema = schema;
    if (d.label_schema.empty()) d.label_schema = data::brats_edition(year).schema.name;
    if (d.channels.empty() || d.preprocessing.empty()) {
      throw std::runtime_error(
          checkpoint +
          ": does not say which modality each channel is, or how volumes were preprocessed; say so "
          "with --channels t1,t2,t1ce,flair --preprocess seed");
    }
    data::check_channels(d.channels, data::brats_edition(year));
    return model;
  }

  void run_raw(Device device) const {
    const Safetensors content = load_safetensors(input);
    if (!content.contains("input"))
      throw std::runtime_error(input + ": has no tensor 'input', expected float32 [N, C, D, H, W]");
    Safetensors result;
    result.tensors.emplace_back("logits",
                                raw_logits(load_model_file(checkpoint), content.at("input"), device));
    save_safetensors(output, result);
  }

  [[nodiscard]] std::vector<data::SubjectFiles> subjects(const ModelDescription& description,
                                                         const data::Warn& warn) const {
    const data::SubjectList list =
        data::list_subjects(input, {year, description.channels, data::Purpose::prediction}, warn);
    if (split_file.empty()) return list.subjects;
    const data::Split split = data::read_split(split_file, list.ids(), warn);
    std::vector<data::SubjectFiles> chosen;
    for (const std::string& id : part == "train" ? split.train : split.validation)
      chosen.push_back(list.find(id));
    return chosen;
  }

  void write(const std::filesystem::path& folder, const data::SubjectFiles& subject,
             const Prediction& prediction, const std::string& modality) const {
    const auto like = data::read_nifti_template(subject.images.at(modality));
    if (probabilities) {
      for (size_t c = 0; c < prediction.probabilities.size(); ++c) {
        data::write_image(folder / (subject.id + "_class" + std::to_string(c) + ".nii.gz"),
                          prediction.probabilities[c], data::VoxelType::float32, like);
      }
    }
    data::write_label_map(folder / (subject.id + ".nii.gz"), prediction.labels, like);
  }

  // On the CPU convolutions may multiply in bfloat16, which training may not.
  [[nodiscard]] DType products(Device device) const {
    if (device != Device::cpu || precision != "bfloat16") return choose_precision(precision, device);
    if (!kernels::has_fast_bfloat16_products()) {
      throw std::runtime_error(
          "--precision bfloat16: this processor does not multiply bfloat16 (AVX512_BF16), or VOXGRAD_ISA "
          "forbids it; use --precision float32");
    }
    return DType::bfloat16;
  }

  void run() const {
    Terminal terminal(quiet);
    const Device device = choose_device(device_options, [&](const std::string& line) { terminal.say(line); });
    if (raw()) return run_raw(device);
    const data::Warn warn = [&](const std::string& line) { terminal.warn(line); };
    Predictor predictor(complete_model(), device, products(device));
    predictor.set_tile(parse_tile(tile));
    const std::vector<data::SubjectFiles> chosen = subjects(predictor.description(), warn);
    std::filesystem::create_directories(output);
    Pace pace(static_cast<int64_t>(chosen.size()));
    for (const data::SubjectFiles& subject : chosen) {
      write(output, subject, predictor.predict(subject, warn), predictor.description().channels.front());
      pace.advance();
      terminal.status("predict " + pace.text() + "  " + subject.id);
    }
    terminal.say(std::to_string(chosen.size()) + " label maps in " + output + " (" +
                 format_duration(pace.seconds() / static_cast<double>(chosen.size())) + " a subject)");
  }
};

}  // namespace

void register_predict(CLI::App& app, int& /*exit_code*/) {
  const auto command = std::make_shared<PredictCommand>();
  CLI::App* sub =
      app.add_subcommand("predict", "segment subjects: label maps on the original grid, with BraTS' labels");
  sub->add_option("--checkpoint", command->checkpoint, "weights (safetensors): of a run, or saved from MONAI")
      ->required();
  sub->add_option("--input", command->input, "a subject's folder, a data set, or raw tensors (.safetensors)")
      ->required();
  sub->add_option("--output", command->output, "folder for ID.nii.gz; for raw tensors a .safetensors file")
      ->required();
  sub->add_flag("--probabilities", command->probabilities, "also write ID_classN.nii.gz, float32");
  sub->add_option("--split-file", command->split_file, "only the subjects of one part of this split");
  sub->add_option("--part", command->part, "which part")
      ->check(CLI::IsMember({"train", "validation"}))
      ->capture_default_str();
  sub->add_option("--year", command->year, "BraTS edition of the data: file names and labels")
      ->capture_default_str();
  sub->add_option("--channels", command->channels,
                  "modality of each input channel, if the checkpoint does not say");
  sub->add_option("--preprocess", command->preprocessing, "preprocessing, if the checkpoint does not say");
  sub->add_option("--labels", command->schema, "label schema, if the checkpoint does not say");
  sub->add_option(
         "--tile", command->tile,
         "predict in overlapping tiles of D,H,W voxels, blended by Gaussian weights; auto: the whole "
         "volume at once, or the largest tiles that memory allows")
      ->capture_default_str();
  sub->add_flag("-q,--quiet", command->quiet, "print nothing but errors and warnings");
  add_device_options(*sub, command->device_options);
  add_precision_option(*sub, command->precision);
  sub->footer(
      "Examples:\n"
      "  voxgrad predict --checkpoint runs/a/best.safetensors --input data/BraTS20_Training_021 --output "
      "predictions\n"
      "  voxgrad predict --checkpoint runs/a/best.safetensors --input data --split-file runs/a/split.json "
      "--output predictions\n"
      "  voxgrad predict --checkpoint monai.safetensors --input X.safetensors --output Y.safetensors\n"
      "Raw tensors: `input` (float32, N,C,D,H,W) in, `logits` out.");
  sub->callback([command] { command->run(); });
}

}  // namespace vg::apps
