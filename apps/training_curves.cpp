#include "apps/training_curves.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "apps/chart.h"
#include "apps/png_file.h"
#include "data/label_schema.h"

namespace vg::apps {

namespace {

// Okabe and Ito's colours: apart for the colour-blind, dark enough on white.
constexpr Colour kBlue{0, 114, 178}, kVermilion{213, 94, 0};
constexpr std::array<Colour, 4> kRegionColours{{{0, 158, 115}, {213, 94, 0}, {0, 114, 178}, {204, 121, 167}}};
constexpr std::array<Colour, 4> kClassColours{{{230, 159, 0}, {86, 180, 233}, {120, 120, 120}, {0, 0, 0}}};
const std::string kDicePrefix = "dice_";
constexpr int kLegendLines = 2;

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields(1);
  for (const char c : line) {
    if (c == ',') {
      fields.emplace_back();
    } else if (c != '\r') {
      fields.back() += c;
    }
  }
  return fields;
}

double number_of(const std::string& field) {
  char* end = nullptr;
  const double value = std::strtod(field.c_str(), &end);
  return end == field.c_str() || *end != '\0' ? std::numeric_limits<double>::quiet_NaN() : value;
}

bool is_region(const std::string& name) {
  const auto editions = data::brats_editions();
  return std::any_of(editions.begin(), editions.end(), [&](const data::BratsEdition& edition) {
    const auto& regions = edition.schema.regions;
    return std::any_of(regions.begin(), regions.end(),
                       [&](const data::Region& region) { return region.name == name; });
  });
}

Series series_of(const NumberTable& table, const std::string& column, const std::string& name,
                 const LineStyle& style) {
  Series series{name, {}, style};
  const std::vector<double>&x = *table.find("epoch"), &y = *table.find(column);
  for (size_t row = 0; row < x.size(); ++row) series.points.push_back({x[row], y[row]});
  return series;
}

Chart loss_chart(const NumberTable& table) {
  Chart chart{"Loss", "epoch", {}, std::nullopt, true, kLegendLines};
  if (table.find("train_loss") != nullptr)
    chart.series.push_back(series_of(table, "train_loss", "training", {kBlue, 2}));
  if (table.find("validation_loss") != nullptr)
    chart.series.push_back(series_of(table, "validation_loss", "validation", {kVermilion, 2}));
  return chart;
}

// Names of the Dice columns: of regions, or of classes.
std::vector<std::string> dice_names(const NumberTable& table, bool regions) {
  std::vector<std::string> names;
  for (const std::string& column : table.names) {
    if (!column.starts_with(kDicePrefix)) continue;
    const std::string name = column.substr(kDicePrefix.size());
    if (is_region(name) == regions) names.push_back(name);
  }
  return names;
}

bool same_line(const Series& a, const Series& b) {
  return std::equal(a.points.begin(), a.points.end(), b.points.begin(), b.points.end(),
                    [](const PicturePoint& p, const PicturePoint& q) {
                      return p.y == q.y || (std::isnan(p.y) && std::isnan(q.y));
                    });
}

// A class that is all of a region (the enhancing tumour) shares the region's line.
Chart dice_chart(const NumberTable& table) {
  Chart chart{"Dice of the validation subjects", "epoch", {}, std::pair{0.0, 1.0}, true, kLegendLines};
  for (const std::string& name : dice_names(table, true)) {
    const Colour colour = kRegionColours[chart.series.size() % kRegionColours.size()];
    chart.series.push_back(series_of(table, kDicePrefix + name, name, {colour, 2.4}));
  }
  size_t classes = 0;
  for (const std::string& name : dice_names(table, false)) {
    const LineStyle style{kClassColours[classes % kClassColours.size()], 1.4, true};
    Series series = series_of(table, kDicePrefix + name, name, style);
    const auto same = std::find_if(chart.series.begin(), chart.series.end(),
                                   [&](const Series& other) { return same_line(other, series); });
    if (same != chart.series.end()) {
      same->name += " = " + name;
    } else {
      chart.series.push_back(std::move(series));
      ++classes;
    }
  }
  return chart;
}

}  // namespace

const std::vector<double>* NumberTable::find(const std::string& name) const {
  const auto it = std::find(names.begin(), names.end(), name);
  return it == names.end() ? nullptr : &columns[static_cast<size_t>(it - names.begin())];
}

NumberTable read_epochs_csv(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw std::runtime_error(file.string() + ": cannot be read; check the path");
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  text.resize(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
  std::stringstream lines(text);
  std::string line;
  NumberTable table;
  std::getline(lines, line);
  table.names = fields_of(line);
  table.columns.resize(table.names.size());
  if (table.find("epoch") == nullptr)
    throw std::runtime_error(file.string() + ": heading: found \"" + line.substr(0, 80) +
                             "\", expected a column \"epoch\"; give the epochs.csv of a run");
  for (int number = 2; std::getline(lines, line); ++number) {
    const std::vector<std::string> fields = fields_of(line);
    if (fields.size() != table.names.size())
      throw std::runtime_error(file.string() + ": line " + std::to_string(number) + ": found " +
                               std::to_string(fields.size()) + " fields, expected " +
                               std::to_string(table.names.size()) + " as in the heading; remove the line");
    for (size_t i = 0; i < fields.size(); ++i) table.columns[i].push_back(number_of(fields[i]));
  }
  if (table.columns.front().empty())
    throw std::runtime_error(file.string() + ": found no rows, expected one for each epoch");
  return table;
}

void write_training_curves(const std::filesystem::path& epochs_csv, const std::filesystem::path& png) {
  const NumberTable table = read_epochs_csv(epochs_csv);
  const Chart loss = loss_chart(table), dice = dice_chart(table);
  std::vector<const Chart*> charts;
  for (const Chart* chart : {&loss, &dice}) {
    if (!chart->series.empty()) charts.push_back(chart);
  }
  if (charts.empty())
    throw std::runtime_error(epochs_csv.string() +
                             ": heading: found no losses or Dice, expected train_loss, validation_loss or "
                             "dice_NAME; give the epochs.csv of a run");
  constexpr int64_t width = 640, height = 520, margin = 24;
  const auto count = static_cast<int64_t>(charts.size());
  Picture picture(count * width + (count + 1) * margin, height + 2 * margin, kWhite);
  for (size_t i = 0; i < charts.size(); ++i) {
    const auto x = static_cast<double>(margin + static_cast<int64_t>(i) * (width + margin));
    draw_chart(picture, {x, margin, width, height}, *charts[i]);
  }
  write_png(png, picture);
}

}  // namespace vg::apps
