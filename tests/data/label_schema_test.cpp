#include "data/label_schema.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace vg::test {
namespace {

using namespace vg::data;

LabelMap labels_of(std::vector<uint8_t> values) {
  LabelMap map;
  map.geometry.extent = {static_cast<int64_t>(values.size()), 1, 1};
  map.voxels = std::move(values);
  return map;
}

TEST(LabelSchema, MapIsFixedWhateverLabelsASubjectHas) {
  const LabelSchema& schema = brats_edition(2020).schema;
  EXPECT_EQ(labels_to_classes(labels_of({0, 1, 2, 4}), schema, "f").voxels,
            (std::vector<uint8_t>{0, 1, 2, 3}));
  // The seed turned {0, 2, 4} into {0, 1, 2}.
  EXPECT_EQ(labels_to_classes(labels_of({4, 2, 0}), schema, "f").voxels, (std::vector<uint8_t>{3, 2, 0}));
  EXPECT_EQ(labels_to_classes(labels_of({0, 0}), schema, "f").voxels, (std::vector<uint8_t>{0, 0}));
}

TEST(LabelSchema, ThereAndBackInEveryEdition) {
  for (const BratsEdition& edition : brats_editions()) {
    std::vector<uint8_t> values;
    for (const LabelMeaning& label : edition.schema.labels) values.push_back(label.value);
    const LabelMap classes = labels_to_classes(labels_of(values), edition.schema, "f");
    for (size_t c = 0; c < values.size(); ++c) EXPECT_EQ(classes.voxels[c], c);
    EXPECT_EQ(classes_to_labels(classes, edition.schema).voxels, values);
    EXPECT_EQ(edition.schema.classes(), static_cast<int64_t>(values.size()));
    EXPECT_EQ(&find_label_schema(edition.schema.name), &edition.schema);
  }
}

TEST(LabelSchema, RegionsByYear) {
  const auto region = [](int year, size_t index) {
    return brats_edition(year).schema.regions.at(index).labels;
  };
  using Values = std::vector<uint8_t>;
  for (int year : {2018, 2019, 2020, 2021}) {
    EXPECT_EQ(region(year, 0), (Values{1, 2, 4}));
    EXPECT_EQ(region(year, 1), (Values{1, 4}));
    EXPECT_EQ(region(year, 2), (Values{4}));
    EXPECT_EQ(brats_edition(year).schema.region_classes(1), (Values{1, 3}));
  }
  EXPECT_EQ(region(2023, 1), (Values{1, 3}));
  EXPECT_EQ(region(2024, 3), (Values{4}));
  EXPECT_EQ(brats_edition(2024).schema.region_classes(0), (Values{1, 2, 3}));
  EXPECT_EQ(brats_edition(2020).suffix("t1ce"), "_t1ce");
  EXPECT_EQ(brats_edition(2023).suffix("t1ce"), "-t1c");
}

TEST(LabelSchema, UnknownLabelsAreAnErrorWithCounts) {
  for (int value : {3, 5, 255}) {
    expect_error<DataError>(
        [&] {
          labels_to_classes(labels_of({0, 0, 1, static_cast<uint8_t>(value)}), brats_edition(2020).schema,
                            "a/seg.nii");
        },
        {"a/seg.nii", "0 (2 voxels)", "1 (1 voxels)", std::to_string(value) + " (1 voxels)",
         "expected only 0, 1, 2, 4"});
  }
  // Label 4 of older years in a data set of 2023 is never taken for enhancing tumour.
  expect_error<DataError>([] { labels_to_classes(labels_of({4}), brats_edition(2023).schema, "f"); },
                          {"4 (1 voxels)", "expected only 0, 1, 2, 3", "brats-2023", "--year"});
  expect_error<DataError>([] { classes_to_labels(labels_of({4}), brats_edition(2020).schema); },
                          {"found 4", "expected 0..3"});
}

TEST(LabelSchema, UnknownNamesListTheKnown) {
  expect_error<std::invalid_argument>([] { brats_edition(2017); }, {"2017", "2018-2020", "2024"});
  expect_error<std::invalid_argument>([] { find_label_schema("x"); }, {"\"x\"", "brats-2018-2020"});
  expect_error<std::invalid_argument>([] { brats_edition(2020).suffix("T1"); },
                                      {"\"T1\"", "t1, t2, t1ce, flair"});
}

// The seed's mistake: without class 1 the enhancing tumour becomes class 2.
TEST(LabelSchema, SequentialRenumberingDependsOnTheSubject) {
  std::vector<uint8_t> all = {0, 3, 1, 2, 0}, without_core = {0, 3, 2, 3, 0}, tumour_only = {3, 3};
  renumber_sequentially(all);
  renumber_sequentially(without_core);
  renumber_sequentially(tumour_only);
  EXPECT_EQ(all, (std::vector<uint8_t>{0, 3, 1, 2, 0}));
  EXPECT_EQ(without_core, (std::vector<uint8_t>{0, 2, 1, 2, 0}));
  EXPECT_EQ(tumour_only, (std::vector<uint8_t>{0, 0}));
}

}  // namespace
}  // namespace vg::test
