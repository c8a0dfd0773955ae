// Line charts.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/picture.h"

namespace vg::apps {

struct Series {
  std::string name;
  std::vector<PicturePoint> points;  ///< x ascending; a y that is not finite interrupts the line
  LineStyle style;
};

struct Chart {
  std::string title, x_label;
  std::vector<Series> series;
  std::optional<std::pair<double, double>> y_range;  ///< default: from the points
  bool whole_x = false;                              ///< x counts: ticks at whole numbers alone
  int legend_lines = 1;  ///< kept free at least, so that charts side by side have their axes at one height
};

/// At most `count` (>= 2) multiples of 1, 2 or 5 times a power of ten in [low, high], low < high. With
/// `whole` none between whole numbers.
std::vector<double> nice_ticks(double low, double high, int count, bool whole = false);

/// Draws title, grid, axes with their numbers, lines and, below, the legend.
void draw_chart(Picture& picture, const Box& box, const Chart& chart);

}  // namespace vg::apps
