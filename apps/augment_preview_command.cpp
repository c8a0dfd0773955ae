#include <algorithm>
#include <cmath>
#include <memory>

#include "apps/cli_support.h"
#include "apps/figure_subject.h"
#include "apps/png_file.h"
#include "apps/terminal.h"
#include "data/augmentation.h"
#include "data/brats_dataset.h"
#include "data/network_order.h"

namespace vg::apps {

namespace {

// Pixels of the sheet.
constexpr double label_width = 250, gap = 4, row_gap = 10, heading = 44;

// One transform on the whole sheet: a row.
struct Row {
  std::string name;
  std::vector<data::AppliedTransform> drawn;
  std::vector<float> images;
  std::vector<uint8_t> labels;
};

// Grey values of a slice, between the two intensities.
struct Window {
  float dark, bright;
};

class ContactSheet {
 public:
  ContactSheet(const data::Sample& sample, const std::vector<std::string>& channels)
      : sample_(sample),
        channels_(channels),
        slice_(slice_with_most_tumour()),
        tile_width_(static_cast<double>(sample.extent[0])),
        tile_height_(static_cast<double>(sample.extent[1])) {
    for (int64_t c = 0; c < sample.channels; ++c) windows_.push_back(window_of(c));
  }

  Picture draw(const std::vector<Row>& rows) const {
    const double pair = 2 * (tile_width_ + gap) + row_gap;
    Picture sheet(std::lround(label_width + static_cast<double>(channels_.size()) * pair),
                  std::lround(heading + static_cast<double>(rows.size()) * (tile_height_ + row_gap)), kWhite);
    sheet.text({8, 18}, sample_.id, {.size = 14});
    sheet.text({8, 36}, "axial slice " + std::to_string(slice_) + ", parameters of " + channels_.front(),
               {.size = 12, .colour = {90, 90, 90}});
    for (size_t c = 0; c < channels_.size(); ++c) {
      const double x = label_width + static_cast<double>(c) * pair;
      sheet.text({x, 18}, channels_[c], {.size = 14});
      sheet.text({x, 36}, "before", {.size = 12, .colour = {90, 90, 90}});
      sheet.text({x + tile_width_ + gap, 36}, "after", {.size = 12, .colour = {90, 90, 90}});
    }
    for (size_t r = 0; r < rows.size(); ++r) {
      const double y = heading + static_cast<double>(r) * (tile_height_ + row_gap);
      describe(sheet, y, rows[r]);
      for (size_t c = 0; c < channels_.size(); ++c) {
        const double x = label_width + static_cast<double>(c) * pair;
        tile(sheet, x, y, c, sample_.image, sample_.labels);
        tile(sheet, x + tile_width_ + gap, y, c, rows[r].images, rows[r].labels);
      }
    }
    return sheet;
  }

 private:
  int64_t slice_with_most_tumour() const {
    const int64_t width = sample_.extent[2];
    std::vector<int64_t> voxels(static_cast<size_t>(width));
    for (size_t v = 0; v < sample_.labels.size(); ++v)
      voxels[v % static_cast<size_t>(width)] += sample_.labels[v] != 0;
    const auto most = std::max_element(voxels.begin(), voxels.end());
    return *most > 0 ? most - voxels.begin() : width / 2;
  }

  // From the darkest voxel to the 99.8th percentile, before the transform: changes of brightness show.
  Window window_of(int64_t channel) const {
    const auto begin = sample_.image.begin() + channel * sample_.voxels();
    std::vector<float> values(begin, begin + sample_.voxels());
    const auto bright = values.begin() + static_cast<int64_t>(0.998 * static_cast<double>(values.size()));
    std::nth_element(values.begin(), bright, values.end());
    return {*std::min_element(values.begin(), values.end()), *bright};
  }

  // Slice `slice_` along k of a volume [D, H, W], ready for display.
  template <class T, class Convert>
  SliceStack axial(const T* volume, const Convert& convert) const {
    data::LabelMap slice{{{sample_.extent[0], sample_.extent[1], 1}, data::Geometry{}.affine}, {}};
    for (int64_t j = 0; j < sample_.extent[1]; ++j) {
      for (int64_t i = 0; i < sample_.extent[0]; ++i)
        slice.voxels.push_back(convert(volume[(i * sample_.extent[1] + j) * sample_.extent[2] + slice_]));
    }
    return stack_slices(slice, SliceAxis::axial);
  }

  void tile(Picture& sheet, double x, double y, size_t channel, const std::vector<float>& images,
            const std::vector<uint8_t>& labels) const {
    const Window window = windows_[channel];
    const float scale = window.bright > window.dark ? 255 / (window.bright - window.dark) : 0;
    const SliceStack grey =
        axial(images.data() + channel * static_cast<size_t>(sample_.voxels()), [&](float value) {
          return static_cast<uint8_t>(std::clamp((value - window.dark) * scale, 0.0F, 255.0F));
        });
    const Box box{x, y, tile_width_, tile_height_};
    sheet.grey(box, grey.voxels, grey.width, grey.height);
    if (labels.empty()) return;
    const SliceStack classes = axial(labels.data(), [](uint8_t label) { return label; });
    sheet.overlay(box, classes.classes(0), class_colours(), 0.15);
  }

  // The transform's name and what it drew for the first image, in lines that fit.
  void describe(Picture& sheet, double y, const Row& row) const {
    sheet.text({8, y + 16}, row.name, {.size = 14});
    if (row.drawn.empty()) return;
    std::string text = row.drawn.front().parameters.text();
    constexpr size_t longest = 36, lines = 6;
    for (size_t line = 0; line < lines && !text.empty(); ++line) {
      size_t end = std::min(text.size(), longest);
      if (end < text.size()) end = std::max<size_t>(text.rfind(',', end) + 1, longest / 2);
      const bool cut = line + 1 == lines && end < text.size();
      sheet.text({8, y + 34 + 15 * static_cast<double>(line)}, text.substr(0, end) + (cut ? "..." : ""),
                 {.size = 11, .colour = {90, 90, 90}});
      text.erase(0, end);
    }
  }

  const data::Sample& sample_;
  const std::vector<std::string>& channels_;
  int64_t slice_;
  double tile_width_, tile_height_;
  std::vector<Window> windows_;
};

struct AugmentPreviewCommand {
  std::string subject, output, channels, preprocessing = "seed";
  std::vector<std::string> transforms;
  uint64_t seed = 0;
  int year = 2020;
  bool quiet = false;

  data::Sample load(const std::vector<std::string>& names, const data::Warn& warn) const {
    const data::SubjectList list =
        data::list_subjects(subject, {year, names, data::Purpose::prediction}, warn);
    const data::SubjectFiles& files = list.subjects.front();
    return data::load_subject(files, names, data::Preprocessing::parse(preprocessing),
                              data::brats_edition(year).schema,
                              files.segmentation ? data::Purpose::training : data::Purpose::prediction, warn);
  }

  Row row(const std::string& text, size_t index, const data::Sample& sample) const {
    data::Draws draws(seed, index);
    Row row{
        text.substr(0, text.find('(')), data::Augmentation::parse(text).draw(sample.channels, draws), {}, {}};
    row.images.resize(sample.image.size());
    row.labels.resize(sample.labels.size());
    const auto [d, h, w] = sample.extent;
    const auto view = [&](auto* memory, int64_t n) {
      return kernels::contiguous_view(memory, n, d, h, w, 1);
    };
    data::apply_transforms(row.drawn, {view(row.images.data(), sample.channels), view(row.labels.data(), 1)},
                           {view(sample.image.data(), sample.channels), view(sample.labels.data(), 1)},
                           sample.geometry, Context::get().exec(Device::cpu));
    return row;
  }

  void run() const {
    Terminal terminal(quiet);
    const data::Warn warn = [&](const std::string& line) { terminal.warn(line); };
    const std::vector<std::string> names =
        channels.empty() ? data::default_channels() : split_commas(channels);
    const data::Sample sample = load(names, warn);
    std::vector<std::string> texts = transforms;
    if (texts.empty()) {
      for (const data::TransformKind& kind : data::transform_kinds())
        texts.push_back("random_" + std::string(kind.name) +
                        (kind.name == "flip" ? "(flip_probability=1)" : "()"));
    }
    std::vector<Row> rows;
    for (size_t i = 0; i < texts.size(); ++i) rows.push_back(row(texts[i], i, sample));
    write_png(output, ContactSheet(sample, names).draw(rows));
    terminal.say("wrote " + output);
  }
};

}  // namespace

void register_augment_preview(CLI::App& app, int& /*exit_code*/) {
  const auto command = std::make_shared<AugmentPreviewCommand>();
  CLI::App* sub = app.add_subcommand(
      "augment-preview", "a contact sheet of every transform, before and after, on every modality");
  sub->add_option("subject", command->subject, "folder of a subject")->required();
  sub->add_option("output", command->output, "PNG file")->required();
  sub->add_option(
      "--transform", command->transforms,
      "show these transforms instead of all (may be repeated), e.g. \"random_motion(degrees=20)\"");
  sub->add_option("--seed", command->seed, "of the random transforms")->capture_default_str();
  sub->add_option("--preprocess", command->preprocessing, "as for training")->capture_default_str();
  sub->add_option("--channels", command->channels, "modalities, e.g. t1,t2,t1ce,flair");
  sub->add_option("--year", command->year, "BraTS edition: file names and labels")->capture_default_str();
  sub->add_flag("-q,--quiet", command->quiet, "print nothing but errors and warnings");
  sub->footer(
      "Grey values run from the darkest voxel to the 99.8th percentile of the modality before the transform; "
      "labels\n"
      "are overlaid. Radiological convention: the left of a picture is the patient's right.\n"
      "Examples:\n"
      "  voxgrad augment-preview data/BraTS20_Training_001 sheet.png\n"
      "  voxgrad augment-preview data/BraTS20_Training_001 sheet.png --seed 3 --transform "
      "\"random_elastic(max_"
      "displacement=15)\"");
  sub->callback([command] { command->run(); });
}

}  // namespace vg::apps
