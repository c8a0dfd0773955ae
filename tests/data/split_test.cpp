#include "data/split.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace vg::test {
namespace {

using namespace vg::data;
using Ids = std::vector<std::string>;

class SplitFile : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) const {
    const auto file = folder_.path() / "split";
    std::ofstream(file) << text;
    return file;
  }
  void expect_rejected(const std::string& text, std::initializer_list<std::string> parts) const {
    const auto file = write(text);
    expect_error<DataError>([&] { read_split(file, ids_); }, parts);
  }

  TemporaryFolder folder_;
  const Ids ids_{"a", "b", "c", "d"};
};

TEST(Split, FirstFourFifthsOfTheSortedSubjectsTrain) {
  Ids ids;
  for (int n = 369; n > 0; --n) ids.push_back("BraTS20_Training_" + std::to_string(1000 + n));
  const Split split = split_by_order(ids);
  EXPECT_EQ(split.train.size(), 295u);  // int(0.8 * 369)
  EXPECT_EQ(split.validation.size(), 74u);
  EXPECT_EQ(split.train.front(), "BraTS20_Training_1001");
  EXPECT_EQ(split.validation.front(), "BraTS20_Training_1296");
  EXPECT_EQ(split.validation.back(), "BraTS20_Training_1369");
}

TEST(Split, FractionsThatAreWholeAreNotRoundedDown) {
  for (int n : {5, 10, 15, 20, 40, 55}) {
    Ids ids;
    for (int i = 0; i < n; ++i) ids.push_back(std::to_string(100 + i));
    EXPECT_EQ(split_by_order(ids).train.size(), static_cast<size_t>(n * 4 / 5)) << n;
  }
  EXPECT_EQ(split_by_order({"a", "b", "c"}, 0.7).train.size(), 2u);
}

TEST(Split, TimePointsOfAPatientStayTogether) {
  EXPECT_EQ(patient_of("BraTS-GLI-00005-100"), "BraTS-GLI-00005");
  EXPECT_EQ(patient_of("BraTS20_Training_001"), "BraTS20_Training_001");
  EXPECT_EQ(patient_of("BraTS2021_00000"), "BraTS2021_00000");
  EXPECT_EQ(patient_of("study-001"), "study-001");
  EXPECT_EQ(patient_of("-001"), "-001");
  EXPECT_EQ(patient_of(""), "");
  const Split split = split_by_order(
      {"BraTS-GLI-00001-000", "BraTS-GLI-00002-000", "BraTS-GLI-00002-001", "BraTS-GLI-00003-000"}, 0.5);
  EXPECT_EQ(split.train.size(), 3u);
}

TEST(Split, NeitherSideMayBeEmpty) {
  expect_error<DataError>([] { split_by_order({"a"}); }, {"1 subjects", "none for training"});
  expect_error<DataError>([] { split_by_order({}); }, {"0 subjects"});
  expect_error<DataError>(
      [] {
        split_by_order({"BraTS-GLI-00001-000", "BraTS-GLI-00001-001"}, 0.5);
      },
      {"2 subjects", "all for training"});
  expect_error<DataError>([] { split_by_order({"a", "b", "a"}); }, {"subject a occurs twice"});
  EXPECT_THROW(split_by_order({"a", "b"}, 1), std::invalid_argument);
  EXPECT_THROW(split_by_order({"a", "b"}, 0), std::invalid_argument);
}

TEST_F(SplitFile, ReadsJsonAndText) {
  for (const char* text : {R"({"train": ["c", "a"], "validation": ["d"]})",
                           "# mine\n[train]\nc\n  a  # the second\n\n[validation]\r\nd\r\n"}) {
    std::string warning;
    const Split split = read_split(write(text), ids_, [&](const std::string& line) { warning = line; });
    EXPECT_EQ(split.train, (Ids{"c", "a"}));
    EXPECT_EQ(split.validation, (Ids{"d"}));
    EXPECT_NE(warning.find("1 of 4 subjects are in neither list"), std::string::npos) << warning;
  }
}

TEST_F(SplitFile, WhatIsWrittenIsReadBack) {
  const auto file = folder_.path() / "out.json";
  write_split(file, {{"a", "b"}, {"d"}});
  const Split split = read_split(file, ids_);
  EXPECT_EQ(split.train, (Ids{"a", "b"}));
  EXPECT_EQ(split.validation, (Ids{"d"}));
}

TEST_F(SplitFile, RejectsWhatDoesNotFitTheDataSet) {
  expect_rejected(R"({"train": ["a", "x"], "validation": ["b"]})", {"subject x", "4 subjects"});
  expect_rejected(R"({"train": ["a", "b"], "validation": ["b"]})", {"patient b is in both lists"});
  expect_rejected(R"({"train": ["a", "a"], "validation": ["b"]})", {"train", "a occurs twice"});
  expect_rejected(R"({"train": ["a"], "validation": ["b", "b"]})", {"validation", "b occurs twice"});
  expect_rejected(R"({"train": ["a"], "validation": []})", {"validation is empty"});
  expect_rejected(R"({"validation": ["a"]})", {"train is empty or missing"});
  expect_rejected(R"({"train": ["a"], "val": ["b"]})", {"key \"val\""});
  expect_rejected(R"({"train": "a", "validation": ["b"]})", {"\"train\" is no list"});
  expect_rejected(R"({"train": [)", {"not JSON"});
  expect_rejected("a\nb\n", {"line 1", "\"a\""});
  expect_rejected("[train]\na\n[test]\nb\n", {"line 3", "[test]"});
  expect_rejected("", {"cannot be read or is empty"});
  expect_error<DataError>([&] { read_split(folder_.path() / "none", ids_); }, {"none", "cannot be read"});
  const auto file = write("[train]\nBraTS-GLI-00001-000\n[validation]\nBraTS-GLI-00001-001\n");
  expect_error<DataError>(
      [&] {
        read_split(file, {"BraTS-GLI-00001-000", "BraTS-GLI-00001-001"});
      },
      {"patient BraTS-GLI-00001 is in both"});
}

}  // namespace
}  // namespace vg::test
