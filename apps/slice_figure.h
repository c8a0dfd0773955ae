// One slice as a figure: image, prediction and truth side by side, with legend and scores.
#pragma once

#include <string>
#include <vector>

#include "apps/figure_subject.h"
#include "apps/picture.h"

namespace vg::apps {

/// A line of the legend.
struct LegendEntry {
  std::string text;  ///< "peritumoural oedema (label 2)"
  Colour colour;
  bool region = false;           ///< a union of labels: without a colour of its own
  std::vector<uint8_t> classes;  ///< class indices that it covers
  std::string dice;              ///< "Dice 0.873", or empty without truth
};
/// Foreground classes, then regions.
std::vector<LegendEntry> legend_of(const FigureSubject& subject);

/// Image, prediction and truth (those that are there) of one slice, in true proportions; orientation letters
/// at the panels' edges. Throws std::invalid_argument if there is no such slice.
Picture draw_slice_figure(const FigureSubject& subject, int64_t slice);

}  // namespace vg::apps
