#include "apps/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

namespace vg::apps {

namespace {

constexpr Colour kInk{32, 33, 36}, kQuiet{95, 99, 104}, kGrid{224, 224, 224};
constexpr double kTitle = 18, kText = 14, kLine = 24;
constexpr int kRows = 7, kColumns = 10;  // ticks at most

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();

  void include(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  // Something to draw on, even around no or a single value.
  [[nodiscard]] Range widened() const {
    if (low > high) return {0, 1};
    if (low < high) return *this;
    const double margin = low == 0 ? 1 : std::abs(low) / 2;
    return {low - margin, low + margin};
  }
};

std::string number_text(double value, double step) {
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 9);
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

// The next tick below and above.
Range rounded_out(const Range& range, int count) {
  const std::vector<double> ticks = nice_ticks(range.low, range.high, count);
  if (ticks.size() < 2) return range;
  const double step = ticks[1] - ticks[0];
  return {std::floor(range.low / step + 1e-9) * step, std::ceil(range.high / step - 1e-9) * step};
}

// Entries from left to right, wrapped at the width.
struct Legend {
  struct Entry {
    PicturePoint at;
    const Series* series;
  };
  std::vector<Entry> entries;
  double height = 0;

  Legend(const Picture& picture, const std::vector<Series>& series, double width) {
    double x = 0;
    for (const Series& s : series) {
      const double needed = kSample + 8 + picture.text_width(s.name, kText);
      if (x > 0 && x + needed > width) {
        x = 0;
        height += kLine;
      }
      entries.push_back({{x, height}, &s});
      x += needed + 24;
    }
    height += series.empty() ? 0 : kLine;
  }
  void draw(Picture& picture, PicturePoint origin) const {
    for (const Entry& entry : entries) {
      const double x = origin.x + entry.at.x, y = origin.y + entry.at.y + kLine - 8;
      const std::array<PicturePoint, 2> sample{{{x, y - 5}, {x + kSample, y - 5}}};
      picture.line(sample, entry.series->style);
      picture.text({x + kSample + 8, y}, entry.series->name, {kText, kInk});
    }
  }

 private:
  static constexpr double kSample = 30;
};

// Where values lie in the picture.
struct Scale {
  Box plot;
  Range x, y;

  [[nodiscard]] double across(double value) const {
    return plot.x + (value - x.low) / (x.high - x.low) * plot.width;
  }
  [[nodiscard]] double down(double value) const {
    return plot.y + (y.high - value) / (y.high - y.low) * plot.height;
  }
};

void draw_axes(Picture& picture, const Scale& scale, const Chart& chart) {
  const Box& plot = scale.plot;
  const auto crisp = [](double value) { return std::floor(value) + 0.5; };
  const std::vector<double> rows = nice_ticks(scale.y.low, scale.y.high, kRows);
  for (const double value : rows) {
    const double y = crisp(scale.down(value));
    picture.line(std::array<PicturePoint, 2>{{{plot.x, y}, {plot.x + plot.width, y}}}, {kGrid, 1});
    picture.text({plot.x - 8, y + 5}, number_text(value, rows.size() > 1 ? rows[1] - rows[0] : 1),
                 {kText, kQuiet, Align::right});
  }
  const std::vector<double> columns = nice_ticks(scale.x.low, scale.x.high, kColumns, chart.whole_x);
  for (const double value : columns) {
    const double x = crisp(scale.across(value)), bottom = plot.y + plot.height;
    picture.line(std::array<PicturePoint, 2>{{{x, bottom}, {x, bottom + 5}}}, {kQuiet, 1});
    picture.text({x, bottom + 20}, number_text(value, columns.size() > 1 ? columns[1] - columns[0] : 1),
                 {kText, kQuiet, Align::centre});
  }
  const double bottom = crisp(plot.y + plot.height);
  picture.line(std::array<PicturePoint, 2>{{{plot.x, bottom}, {plot.x + plot.width, bottom}}}, {kQuiet, 1});
  picture.text({plot.x + plot.width / 2, bottom + 42}, chart.x_label, {kText, kInk, Align::centre});
}

void draw_series(Picture& picture, const Scale& scale, const Series& series) {
  std::vector<PicturePoint> piece;
  const auto end_piece = [&] {
    picture.line(piece, series.style);
    piece.clear();
  };
  for (const PicturePoint& point : series.points) {
    if (std::isfinite(point.y)) {
      piece.push_back({scale.across(point.x), scale.down(point.y)});
    } else {
      end_piece();
    }
  }
  end_piece();
}

}  // namespace

std::vector<double> nice_ticks(double low, double high, int count, bool whole) {
  const double smallest = (high - low) / std::max(count - 1, 1);
  const double power = std::pow(10, std::floor(std::log10(smallest)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= smallest * (1 - 1e-9)) {
      step = factor * power;
      break;
    }
  }
  if (whole) step = std::max(step, 1.0);
  std::vector<double> ticks;
  const auto first = static_cast<int64_t>(std::ceil(low / step - 1e-9)),
             last = static_cast<int64_t>(std::floor(high / step + 1e-9));
  for (int64_t i = first; i <= last; ++i) ticks.push_back(static_cast<double>(i) * step);
  return ticks;
}

void draw_chart(Picture& picture, const Box& box, const Chart& chart) {
  Range x, y;
  for (const Series& series : chart.series) {
    for (const PicturePoint& point : series.points) {
      x.include(point.x);
      y.include(point.y);
    }
  }
  y = chart.y_range ? Range{chart.y_range->first, chart.y_range->second} : rounded_out(y.widened(), kRows);
  const Legend legend(picture, chart.series, box.width);
  const double left = 56, top = kTitle + 20, below = 54;
  const double legend_height = std::max(legend.height, chart.legend_lines * kLine);
  const Scale scale{
      {box.x + left, box.y + top, box.width - left - 10, box.height - top - below - legend_height},
      x.widened(),
      y};
  picture.text({box.x, box.y + kTitle}, chart.title, {kTitle, kInk});
  draw_axes(picture, scale, chart);
  for (const Series& series : chart.series) draw_series(picture, scale, series);
  legend.draw(picture, {box.x, box.y + box.height - legend_height});
}

}  // namespace vg::apps
