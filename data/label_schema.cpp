#include "data/label_schema.h"

#include <algorithm>
#include <stdexcept>

namespace vg::data {
namespace {

constexpr const char* kCore = "necrotic and non-enhancing tumour core";
constexpr const char* kOedema = "peritumoural oedema";
constexpr const char* kEnhancing = "enhancing tumour";
constexpr const char* kWhole = "whole tumour";
constexpr const char* kTumourCore = "tumour core";

/// Sources: the challenges' data pages (Menze 2015; Baid 2021 for 2021; de Verdier 2024 for post-treatment
/// glioma).
const std::vector<BratsEdition>& table() {
  static const std::vector<ModalitySuffix> underscore{
      {"t1", "_t1"}, {"t2", "_t2"}, {"t1ce", "_t1ce"}, {"flair", "_flair"}};
  static const std::vector<ModalitySuffix> dash{
      {"t1", "-t1n"}, {"t2", "-t2w"}, {"t1ce", "-t1c"}, {"flair", "-t2f"}};
  static const std::vector<LabelMeaning> until_2022{
      {0, "background"}, {1, kCore}, {2, kOedema}, {4, kEnhancing}};
  static const std::vector<Region> regions_until_2022{
      {"WT", kWhole, {1, 2, 4}}, {"TC", kTumourCore, {1, 4}}, {"ET", kEnhancing, {4}}};
  static const std::vector<BratsEdition> rows{
      {"2018-2020", 2018, 2020, underscore, "_seg", {"brats-2018-2020", until_2022, regions_until_2022}},
      {"2021-2022", 2021, 2022, underscore, "_seg", {"brats-2021-2022", until_2022, regions_until_2022}},
      {"2023",
       2023,
       2023,
       dash,
       "-seg",
       {"brats-2023",
        {{0, "background"}, {1, kCore}, {2, kOedema}, {3, kEnhancing}},
        {{"WT", kWhole, {1, 2, 3}}, {"TC", kTumourCore, {1, 3}}, {"ET", kEnhancing, {3}}}}},
      {"2024",
       2024,
       2024,
       dash,
       "-seg",
       {"brats-2024",
        {{0, "background"},
         {1, "non-enhancing tumour core"},
         {2, "surrounding non-enhancing FLAIR hyperintensity"},
         {3, kEnhancing},
         {4, "resection cavity"}},
        {{"WT", kWhole, {1, 2, 3}},
         {"TC", kTumourCore, {1, 3}},
         {"ET", kEnhancing, {3}},
         {"RC", "resection cavity", {4}}}}},
  };
  return rows;
}

template <class Items, class Name>
std::string join(const Items& items, const Name& name) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ", ") + std::string(name(item));
  return text;
}

}  // namespace

std::vector<uint8_t> LabelSchema::region_classes(size_t index) const {
  std::vector<uint8_t> classes;
  for (uint8_t value : regions.at(index).labels) {
    for (size_t c = 0; c < labels.size(); ++c) {
      if (labels[c].value == value) classes.push_back(static_cast<uint8_t>(c));
    }
  }
  return classes;
}

const std::string& BratsEdition::suffix(std::string_view modality) const {
  for (const ModalitySuffix& m : modalities) {
    if (m.modality == modality) return m.suffix;
  }
  throw std::invalid_argument("channel \"" + std::string(modality) + "\" is unknown, expected one of " +
                              join(modalities, [](const auto& m) { return m.modality; }));
}

std::span<const BratsEdition> brats_editions() {
  return table();
}

const BratsEdition& brats_edition(int year) {
  for (const BratsEdition& e : table()) {
    if (year >= e.first_year && year <= e.last_year) return e;
  }
  throw std::invalid_argument("BraTS year " + std::to_string(year) + " is unknown, expected one of " +
                              join(table(), [](const auto& e) { return e.name; }));
}

const LabelSchema& find_label_schema(std::string_view name) {
  for (const BratsEdition& e : table()) {
    if (e.schema.name == name) return e.schema;
  }
  throw std::invalid_argument("label schema \"" + std::string(name) + "\" is unknown, expected one of " +
                              join(table(), [](const auto& e) { return e.schema.name; }));
}

std::array<int64_t, 256> label_counts(const LabelMap& labels) {
  std::array<int64_t, 256> counts{};
  for (uint8_t value : labels.voxels) ++counts[value];
  return counts;
}

LabelMap labels_to_classes(const LabelMap& labels, const LabelSchema& schema, const std::string& source) {
  std::array<int, 256> map;
  map.fill(-1);
  for (size_t c = 0; c < schema.labels.size(); ++c) map[schema.labels[c].value] = static_cast<int>(c);
  const auto counts = label_counts(labels);
  bool known = true;
  std::string found;
  for (size_t value = 0; value < counts.size(); ++value) {
    if (counts[value] == 0) continue;
    known = known && map[value] >= 0;
    found += (found.empty() ? "" : ", ") + std::to_string(value) + " (" + std::to_string(counts[value]) +
             " voxels)";
  }
  if (!known) {
    throw DataError(source + ": labels: found " + found + ", expected only " +
                    join(schema.labels, [](const auto& l) { return std::to_string(l.value); }) + " (" +
                    schema.name + "); name the data set's year with --year, or correct the file");
  }
  LabelMap classes{labels.geometry, std::vector<uint8_t>(labels.voxels.size())};
  std::transform(labels.voxels.begin(), labels.voxels.end(), classes.voxels.begin(),
                 [&](uint8_t value) { return static_cast<uint8_t>(map[value]); });
  return classes;
}

void renumber_sequentially(std::vector<uint8_t>& classes) {
  std::array<bool, 256> occurs{};
  for (const uint8_t value : classes) occurs[value] = true;
  std::array<uint8_t, 256> number{};
  uint8_t next = 0;
  for (size_t value = 0; value < 256; ++value) {
    if (occurs[value]) number[value] = next++;
  }
  for (uint8_t& value : classes) value = number[value];
}

LabelMap classes_to_labels(const LabelMap& classes, const LabelSchema& schema) {
  LabelMap labels{classes.geometry, std::vector<uint8_t>(classes.voxels.size())};
  for (size_t n = 0; n < classes.voxels.size(); ++n) {
    const uint8_t c = classes.voxels[n];
    if (c >= schema.labels.size()) {
      throw DataError("classes: found " + std::to_string(c) + ", expected 0.." +
                      std::to_string(schema.labels.size() - 1) + " (" + schema.name + ")");
    }
    labels.voxels[n] = schema.labels[c].value;
  }
  return labels;
}

}  // namespace vg::data
