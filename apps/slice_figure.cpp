#include "apps/slice_figure.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

namespace vg::apps {

namespace {

constexpr double kMargin = 24, kGap = 16, kPanel = 480;  // pixels; kPanel is the longer side
constexpr double kTitle = 22, kCaption = 18, kText = 16, kLine = 28, kLegendColumn = 560, kLegendGap = 60;
constexpr Colour kInk{32, 33, 36}, kQuiet{95, 99, 104};

std::string dice_text(const FigureSubject& subject, size_t index) {
  if (subject.scores.empty()) return "";
  const Overlap& overlap = subject.scores[index];
  if (overlap.empty()) return "in neither";
  char text[32];
  std::snprintf(text, sizeof text, "Dice %.3f", overlap.dice());
  return text;
}

std::string label_list(const std::vector<uint8_t>& values) {
  std::string text = values.size() == 1 ? "label " : "labels ";
  for (size_t i = 0; i < values.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(values[i]);
  return text;
}

struct Panel {
  std::string caption;
  const SliceStack* classes;  // nullptr: the image alone
};

std::vector<Panel> panels_of(const FigureSubject& subject) {
  std::vector<Panel> panels;
  if (subject.image) panels.push_back({"Image (" + subject.image_name + ")", nullptr});
  panels.push_back({"Prediction", &subject.prediction});
  if (subject.truth) panels.push_back({"Truth", &*subject.truth});
  return panels;
}

void draw_orientation(Picture& picture, const Box& box, const SliceOrder& order) {
  const auto letter = [&](double x, double y, char direction) {
    picture.text({x, y}, std::string(1, direction), {kText, {200, 200, 200}, Align::centre});
  };
  const double middle_x = box.x + box.width / 2, middle_y = box.y + box.height / 2 + kText / 3;
  letter(box.x + 12, middle_y, order.left);
  letter(box.x + box.width - 12, middle_y, order.right);
  letter(middle_x, box.y + kText + 2, order.above);
  letter(middle_x, box.y + box.height - 6, order.below);
}

void draw_panel(Picture& picture, const Box& box, const FigureSubject& subject, const Panel& panel,
                int64_t slice) {
  picture.rectangle(box, kBlack);
  if (subject.image)
    picture.grey(box, subject.image->slice(slice), subject.image->width, subject.image->height);
  if (panel.classes != nullptr)
    picture.overlay(box, panel.classes->classes(slice), class_colours(), kOverlayAlpha);
  draw_orientation(picture, box, slice_order(subject.axis));
}

// A legend line, `width` wide: colours, text, and the score at the right end.
void draw_entry(Picture& picture, PicturePoint at, double width, const LegendEntry& entry) {
  const double swatch = 16, top = at.y - 13;
  if (entry.region) {
    const double part = swatch / static_cast<double>(entry.classes.size());
    for (size_t i = 0; i < entry.classes.size(); ++i)
      picture.rectangle({at.x + part * static_cast<double>(i), top, part, swatch},
                        class_colours()[entry.classes[i]]);
  } else {
    picture.rectangle({at.x, top, swatch, swatch}, entry.colour);
  }
  picture.text({at.x + swatch + 10, at.y}, entry.text, {kText, kInk});
  picture.text({at.x + width, at.y}, entry.dice, {kText, kInk, Align::right});
}

}  // namespace

std::vector<LegendEntry> legend_of(const FigureSubject& subject) {
  const data::LabelSchema& schema = *subject.schema;
  std::vector<LegendEntry> entries;
  for (size_t c = 1; c < schema.labels.size(); ++c) {
    const data::LabelMeaning& label = schema.labels[c];
    entries.push_back({label.name + " (" + label_list({label.value}) + ")",
                       class_colours()[c],
                       false,
                       {static_cast<uint8_t>(c)},
                       dice_text(subject, entries.size())});
  }
  for (size_t r = 0; r < schema.regions.size(); ++r) {
    const data::Region& region = schema.regions[r];
    entries.push_back({region.name + ", " + region.meaning + " (" + label_list(region.labels) + ")", kBlack,
                       true, schema.region_classes(r), dice_text(subject, entries.size())});
  }
  return entries;
}

Picture draw_slice_figure(const FigureSubject& subject, int64_t slice) {
  const SliceStack& stack = subject.prediction;
  check_slice(subject, slice);
  const double across = static_cast<double>(stack.width) * subject.spacing[0],
               down = static_cast<double>(stack.height) * subject.spacing[1];
  const double scale = kPanel / std::max(across, down);
  const double width = std::round(across * scale), height = std::round(down * scale);
  const std::vector<Panel> panels = panels_of(subject);
  const std::vector<LegendEntry> legend = legend_of(subject);
  const auto count = static_cast<double>(panels.size());

  const double inner = std::max(count * width + (count - 1) * kGap, kLegendColumn);
  const bool two_columns = inner >= 2 * kLegendColumn + kLegendGap;
  const auto classes = static_cast<size_t>(subject.schema->classes() - 1);
  const size_t lines = two_columns ? std::max(classes, legend.size() - classes) : legend.size();
  const double panel_top = kMargin + kTitle + 14 + kCaption + 12;
  const double legend_top = panel_top + height + 34;
  Picture picture(static_cast<int64_t>(inner + 2 * kMargin),
                  static_cast<int64_t>(legend_top + static_cast<double>(lines) * kLine + kMargin + 4),
                  kWhite);

  picture.text({kMargin, kMargin + kTitle - 4}, subject.id, {kTitle, kInk});
  picture.text({kMargin + inner, kMargin + kTitle - 4},
               to_string(subject.axis) + " slice " + std::to_string(slice) + " (0 to " +
                   std::to_string(stack.slices - 1) + ")",
               {kCaption, kQuiet, Align::right});
  for (size_t i = 0; i < panels.size(); ++i) {
    const double x = kMargin + static_cast<double>(i) * (width + kGap);
    picture.text({x, panel_top - 10}, panels[i].caption, {kCaption, kInk});
    draw_panel(picture, {x, panel_top, width, height}, subject, panels[i], slice);
  }
  for (size_t i = 0; i < legend.size(); ++i) {
    const bool right = two_columns && i >= classes;
    const double x = kMargin + (right ? kLegendColumn + kLegendGap : 0);
    const size_t line = right ? i - classes : i;
    draw_entry(picture, {x, legend_top + static_cast<double>(line) * kLine}, kLegendColumn, legend[i]);
  }
  picture.text({kMargin, static_cast<double>(picture.height()) - kMargin + 8},
               "R, L, A, P, S, I: the patient's right, left, front, back, head, feet" +
                   std::string(subject.truth ? "; Dice over the whole volume" : ""),
               {12, kQuiet});
  return picture;
}

}  // namespace vg::apps
