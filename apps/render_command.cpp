#include <memory>
#include <optional>

#include "apps/cli_support.h"
#include "apps/figures.h"
#include "apps/label_files.h"
#include "apps/terminal.h"
#include "apps/training_curves.h"
#include "data/brats_dataset.h"

namespace vg::apps {

namespace {

namespace fs = std::filesystem;

struct RenderCommand {
  std::string prediction, truth, image, dataset, run_folder, modality = "flair", output, axis = "axial";
  std::optional<int64_t> slice;
  int year = 2020, delay = 80;
  bool png = false, gif = false, html = false, quiet = false;

  // Without a choice, all.
  [[nodiscard]] bool wants(bool kind) const { return kind || !(png || gif || html); }

  // One prediction, with the files given or those of the data set.
  [[nodiscard]] FigureFiles with_files(const std::string& id, const fs::path& file,
                                       const data::SubjectList& subjects) const {
    FigureFiles files{id, file, std::nullopt, std::nullopt};
    if (!dataset.empty()) {
      const data::SubjectFiles& subject = subjects.find(id);
      files.truth = subject.segmentation;
      files.image = subject.images.at(modality);
    }
    if (!truth.empty()) files.truth = truth;
    if (!image.empty()) files.image = image;
    return files;
  }

  [[nodiscard]] std::vector<FigureFiles> figures(const data::Warn& warn) const {
    data::SubjectList subjects;
    if (!dataset.empty())
      subjects = data::list_subjects(dataset, {year, {modality}, data::Purpose::prediction}, warn);
    if (!fs::is_directory(prediction)) {
      const std::string id = nifti_stem(fs::path(prediction).filename().string());
      if (id.empty())
        throw std::runtime_error(prediction + ": found no NIfTI file, expected a label map (.nii, .nii.gz)" +
                                 " or a folder of them");
      return {with_files(id, prediction, subjects)};
    }
    if (!truth.empty() || !image.empty())
      throw std::runtime_error((truth.empty() ? "--image " + image : "--truth " + truth) +
                               ": found one file for the folder " + prediction +
                               "; give --data with the data set that holds the subjects");
    std::vector<FigureFiles> files;
    for (const auto& [id, file] : prediction_files(prediction))
      files.push_back(with_files(id, file, subjects));
    return files;
  }

  void make_output_folder() const {
    std::error_code error;
    fs::create_directories(output, error);
    if (error)
      throw std::runtime_error("--output " + output + ": cannot be made: " + error.message() +
                               "; give a folder that can be written");
  }

  void render(const FigureFiles& files, const data::Warn& warn) const {
    const FigureOptions options{.axis = parse_slice_axis(axis),
                                .slice = slice,
                                .delay = delay,
                                .png = wants(png),
                                .gif = wants(gif),
                                .html = wants(html)};
    write_figures(files, fs::path(output) / files.id, options, data::brats_edition(year).schema, warn);
  }

  void draw_curves(Terminal& terminal) {
    if (!prediction.empty())
      throw std::runtime_error("--run: found PREDICTION as well, expected one of the two; call render twice");
    const fs::path epochs = fs::path(run_folder) / "epochs.csv";
    (void)read_epochs_csv(epochs);  // before a folder is made
    if (output.empty()) output = run_folder;
    make_output_folder();
    const fs::path png_file = fs::path(output) / "curves.png";
    write_training_curves(epochs, png_file);
    terminal.say("curves of the run in " + png_file.string());
  }

  void run() {
    Terminal terminal(quiet);
    if (!run_folder.empty()) return draw_curves(terminal);
    if (prediction.empty())
      throw std::runtime_error(
          "render: PREDICTION is missing; give a label map or a folder of them (see 'voxgrad render "
          "--help')");
    if (output.empty()) output = ".";
    const data::Warn warn = [&](const std::string& line) { terminal.warn(line); };
    const std::vector<FigureFiles> all = figures(warn);
    make_output_folder();
    Pace pace(static_cast<int64_t>(all.size()));
    for (const FigureFiles& files : all) {
      render(files, warn);
      pace.advance();
      terminal.status("render " + pace.text() + "  " + files.id);
    }
    terminal.say("figures of " + std::to_string(all.size()) + (all.size() == 1 ? " subject" : " subjects") +
                 " in " + output + " (" + format_duration(pace.seconds()) + ")");
  }
};

}  // namespace

void register_render(CLI::App& app, int& /*exit_code*/) {
  const auto command = std::make_shared<RenderCommand>();
  CLI::App* sub = app.add_subcommand("render",
                                     "figures of predictions: a slice as PNG, all slices as GIF, a page with "
                                     "the slices in 3D; curves of a run");
  sub->add_option("PREDICTION", command->prediction, "label map (NIfTI), or a folder of ID.nii.gz");
  sub->add_option("--run", command->run_folder,
                  "folder of a training run: draws its losses and Dice to curves.png instead");
  sub->add_option("--truth", command->truth, "label map to compare with");
  sub->add_option("--image", command->image, "image to draw on, e.g. ID_flair.nii.gz");
  sub->add_option("--data", command->dataset,
                  "data set in BraTS' layout: takes truth and image from there by ID");
  sub->add_option("--modality", command->modality, "which image of --data")->capture_default_str();
  sub->add_option("--output", command->output,
                  "folder for the figures; default: the current one, with --run the run's");
  sub->add_option(
         "--slice", command->slice,
         "slice of the PNG, counted from 0 at the bottom, back or left; default: the one with most tumour")
      ->check(CLI::NonNegativeNumber);
  sub->add_option("--axis", command->axis, "direction in which slices are stacked")
      ->check(CLI::IsMember({"sagittal", "coronal", "axial"}))
      ->capture_default_str();
  sub->add_option("--year", command->year, "BraTS edition of the labels")->capture_default_str();
  sub->add_option("--delay", command->delay, "milliseconds a frame of the GIF")
      ->check(CLI::Range(20, 10000))
      ->capture_default_str();
  sub->add_flag("--png", command->png, "write ID.png: image, prediction and truth of one slice side by side");
  sub->add_flag("--gif", command->gif, "write ID.gif: scrolls through all slices, one pixel a voxel");
  sub->add_flag("--html", command->html,
                "write ID.html: a page with the slices stacked in 3D and a slider; needs no network");
  sub->add_flag("-q,--quiet", command->quiet, "print nothing but errors and warnings");
  sub->footer(
      "Without --png, --gif and --html all three are written, named ID.png, ID.gif and ID.html after the "
      "prediction.\n"
      "Slices are shown as radiologists do: the patient's right is at the left of axial and coronal slices; "
      "in sagittal\n"
      "ones the front is at the left. Letters at the edges (R, L, A, P, S, I) say so. Without truth or image "
      "their panels\n"
      "are left out.\n"
      "Examples:\n"
      "  voxgrad render predictions/BraTS20_Training_021.nii.gz --truth BraTS20_Training_021_seg.nii.gz "
      "--image "
      "BraTS20_Training_021_flair.nii.gz\n"
      "  voxgrad render predictions --data BraTS2020_TrainingData --output figures\n"
      "  voxgrad render predictions --data data --modality t1ce --axis coronal --png --output figures\n"
      "  voxgrad render --run runs/seed");
  sub->callback([command] { command->run(); });
}

}  // namespace vg::apps
