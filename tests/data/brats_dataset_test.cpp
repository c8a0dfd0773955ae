#include "data/brats_dataset.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "data/network_order.h"
#include "data/nifti_io.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace vg::test {
namespace {

namespace fs = std::filesystem;
using namespace vg::data;

/// A small data set in a temporary folder. Voxel (i, j, k) of channel c holds 1 + i + 10 j + 100 k + 1000 c.
class BratsDataset : public testing::Test {
 protected:
  Geometry geometry() const {
    Geometry g;
    g.extent = {3, 4, 2};
    return g;
  }
  Image image(int channel) const {
    const Geometry g = geometry();
    Image result{g, std::vector<float>(g.voxels())};
    for (int64_t k = 0; k < 2; ++k) {
      for (int64_t j = 0; j < 4; ++j) {
        for (int64_t i = 0; i < 3; ++i) {
          result.voxels[g.index(i, j, k)] = static_cast<float>(1 + i + 10 * j + 100 * k + 1000 * channel);
        }
      }
    }
    return result;
  }
  LabelMap labels() const {
    LabelMap map{geometry(), std::vector<uint8_t>(24, 0)};
    map.voxels[map.geometry.index(2, 1, 0)] = 4;
    map.voxels[map.geometry.index(0, 3, 1)] = 2;
    return map;
  }
  fs::path file(const std::string& id, const std::string& suffix,
                const std::string& extension = ".nii.gz") const {
    return root() / id / (id + suffix + extension);
  }
  void write_subject(const std::string& id, const BratsEdition& edition = brats_edition(2020)) const {
    fs::create_directories(root() / id);
    for (size_t c = 0; c < default_channels().size(); ++c) {
      write_image(file(id, edition.suffix(default_channels()[c])), image(static_cast<int>(c)));
    }
    write_label_map(file(id, edition.segmentation_suffix), labels());
  }
  SubjectList list(const DatasetOptions& options = {}) {
    warnings.clear();
    return list_subjects(root(), options, [this](const std::string& line) { warnings.push_back(line); });
  }
  Sample load(const std::string& id, Purpose purpose = Purpose::training,
              const std::vector<std::string>& channels = default_channels()) {
    DatasetOptions options;
    options.purpose = purpose;
    const SubjectFiles subject = list(options).find(id);
    warnings.clear();
    return load_subject(subject, channels, Preprocessing::parse("none"), brats_edition(2020).schema, purpose,
                        [this](const std::string& line) { warnings.push_back(line); });
  }
  void expect_warning(const std::string& part) const {
    for (const std::string& line : warnings) {
      if (line.find(part) != std::string::npos) return;
    }
    ADD_FAILURE() << "no warning holds \"" << part << "\" among " << testing::PrintToString(warnings);
  }
  const fs::path& root() const { return folder_.path(); }

  std::vector<std::string> warnings;

 private:
  TemporaryFolder folder_;
};

TEST_F(BratsDataset, ListsSubjectsSorted) {
  for (const char* id : {"BraTS20_Training_010", "BraTS20_Training_002", "BraTS20_Training_001"})
    write_subject(id);
  std::ofstream(root() / "name_mapping.csv") << "x";
  const SubjectList subjects = list();
  EXPECT_EQ(subjects.ids(), (std::vector<std::string>{"BraTS20_Training_001", "BraTS20_Training_002",
                                                      "BraTS20_Training_010"}));
  EXPECT_EQ(subjects.subjects[1].images.at("t1ce"), file("BraTS20_Training_002", "_t1ce"));
  EXPECT_EQ(subjects.subjects[1].segmentation, file("BraTS20_Training_002", "_seg"));
  EXPECT_TRUE(warnings.empty());
  EXPECT_THROW(subjects.find("x"), DataError);
}

TEST_F(BratsDataset, FindsSubjectsBelowGradesAndInTheirOwnFolder) {
  write_subject("A");
  fs::create_directories(root() / "HGG");
  fs::rename(root() / "A", root() / "HGG" / "A");
  EXPECT_EQ(list().ids(), (std::vector<std::string>{"A"}));
  DatasetOptions options;
  options.purpose = Purpose::prediction;
  EXPECT_EQ(list_subjects(root() / "HGG/A", options).ids(), (std::vector<std::string>{"A"}));
}

TEST_F(BratsDataset, ReadsTheNamesOf2023AndSaysSoIfTheYearIsWrong) {
  write_subject("BraTS-GLI-00001-000", brats_edition(2023));
  DatasetOptions options;
  options.year = 2023;
  EXPECT_EQ(list(options).subjects.at(0).images.at("flair"), file("BraTS-GLI-00001-000", "-t2f"));
  expect_error<DataError>([&] { list(); },
                          {"no subject of BraTS 2018-2020", "ID_t1.nii.gz", "2023", "--year"});
}

TEST_F(BratsDataset, PlainNiiIsFoundAndBothAreReported) {
  write_subject("A");
  fs::remove(file("A", "_t1"));
  write_image(file("A", "_t1", ".nii"), image(0));
  EXPECT_EQ(list().subjects.at(0).images.at("t1"), file("A", "_t1", ".nii"));
  write_image(file("A", "_t1"), image(0));
  EXPECT_EQ(list().subjects.at(0).images.at("t1"), file("A", "_t1"));
  expect_warning("A_t1.nii.gz is used");
}

TEST_F(BratsDataset, IncompleteSubjectsAreSkippedInTrainingAndRefusedInPrediction) {
  write_subject("A");
  write_subject("B");
  write_subject("C");
  fs::remove(file("B", "_t1ce"));
  fs::rename(file("C", "_seg"), root() / "C" / "W39_Segm.nii.gz");
  const SubjectList subjects = list();
  EXPECT_EQ(subjects.ids(), (std::vector<std::string>{"A"}));
  ASSERT_EQ(subjects.skipped.size(), 2u);
  expect_warning("subject B lacks t1ce (expected B_t1ce.nii.gz or .nii); skipped");
  expect_warning(
      "subject C lacks the segmentation (expected C_seg.nii.gz or .nii); other files there: W39_Segm.nii.gz");

  DatasetOptions options;
  options.purpose = Purpose::prediction;
  expect_error<DataError>([&] { list(options); }, {"subject B lacks t1ce"});
  options.channels = {"flair", "t1"};  // what is not needed may be missing
  EXPECT_EQ(list(options).subjects.size(), 3u);
}

TEST_F(BratsDataset, EmptyMissingAndDoubledDataSetsAreErrors) {
  expect_error<DataError>([&] { list(); }, {"found no subject", "ID/ID_t1.nii.gz"});
  expect_error<DataError>([&] { list_subjects(root() / "none"); }, {"none", "does not exist"});
  std::ofstream(root() / "file") << "x";
  expect_error<DataError>([&] { list_subjects(root() / "file"); }, {"is not a folder"});
  write_subject("A");
  fs::create_directories(root() / "copy");
  fs::copy(root() / "A", root() / "copy" / "A");
  expect_error<DataError>([&] { list(); }, {"subject A occurs twice", "copy"});
  fs::remove_all(root() / "copy");
  fs::remove(file("A", "_t2"));
  expect_error<DataError>([&] { list(); }, {"found no complete subject (1 incomplete", "lacks t2"});
}

TEST_F(BratsDataset, ChannelsAreChecked) {
  write_subject("A");
  DatasetOptions options;
  for (const auto& channels : std::vector<std::vector<std::string>>{{"t1", "T2"}, {"t1", "t1"}, {}}) {
    options.channels = channels;
    EXPECT_THROW(list(options), std::invalid_argument);
  }
}

TEST_F(BratsDataset, PathsWithSpacesAndUnicodeWork) {
  write_subject("Größe und 脳");
  EXPECT_EQ(load("Größe und 脳").id, "Größe und 脳");
}

TEST_F(BratsDataset, AxesIJKBecomeDHWWithChannelsFirst) {
  write_subject("A");
  for (const std::vector<std::string>& channels : {default_channels(), {"flair", "t1"}}) {
    const Sample sample = load("A", Purpose::training, channels);
    EXPECT_EQ(sample.extent, (std::array<int64_t, 3>{3, 4, 2}));
    EXPECT_EQ(sample.channels, static_cast<int64_t>(channels.size()));
    EXPECT_EQ(sample.geometry, geometry());
    EXPECT_EQ(sample.original, geometry());
    const int first = channels.size() == 4 ? 0 : 3, second = channels.size() == 4 ? 1 : 0;
    size_t voxel = 0;
    for (int d = 0; d < 3; ++d) {
      for (int h = 0; h < 4; ++h) {
        for (int w = 0; w < 2; ++w, ++voxel) {
          const float place = static_cast<float>(1 + d + 10 * h + 100 * w);
          EXPECT_EQ(sample.image[voxel], place + 1000.0f * static_cast<float>(first));
          EXPECT_EQ(sample.image[sample.voxels() + voxel], place + 1000.0f * static_cast<float>(second));
          EXPECT_EQ(sample.labels[voxel], d == 2 && h == 1 && w == 0   ? 3
                                          : d == 0 && h == 3 && w == 1 ? 2
                                                                       : 0);
        }
      }
    }
  }
  EXPECT_TRUE(load("A", Purpose::prediction).labels.empty());
}

TEST_F(BratsDataset, NetworkOrderThereAndBack) {
  Geometry g;
  g.extent = {17, 5, 33};
  Image values{g, std::vector<float>(g.voxels())};
  LabelMap classes{g, std::vector<uint8_t>(g.voxels())};
  for (int64_t n = 0; n < g.voxels(); ++n) {
    values.voxels[n] = static_cast<float>(n);
    classes.voxels[n] = static_cast<uint8_t>(n % 251);
  }
  std::vector<float> packed(g.voxels());
  pack_image(values, packed);
  EXPECT_EQ(packed[33], values.voxels[17]);  // [i, j, k] = [0, 1, 0]
  EXPECT_EQ(unpack_channel(packed, g, 1, 0).voxels, values.voxels);
  std::vector<float> interleaved(3 * g.voxels(), -1);
  for (int64_t n = 0; n < g.voxels(); ++n) interleaved[3 * n + 1] = packed[n];
  EXPECT_EQ(unpack_channel(interleaved, g, 3, 1).voxels, values.voxels);
  EXPECT_EQ(unpack_channel(interleaved, g, 3, 2).voxels, std::vector<float>(g.voxels(), -1));
  std::vector<uint8_t> packed_labels(g.voxels());
  pack_labels(classes, packed_labels);
  EXPECT_EQ(unpack_labels(packed_labels, g).voxels, classes.voxels);
  EXPECT_THROW(pack_labels(classes, std::span(packed_labels).first(5)), std::invalid_argument);
  EXPECT_THROW(pack_image(values, interleaved), std::invalid_argument);
  EXPECT_THROW(unpack_channel(interleaved, g, 3, 3), std::invalid_argument);
}

TEST_F(BratsDataset, FilesThatDoNotShareAGridAreErrorsWithBothValues) {
  write_subject("A");
  Image other = image(2);
  other.geometry.affine[1][3] = 0.5;
  write_image(file("A", "_t1ce"), other);
  expect_error<DataError>([&] { load("A"); }, {"A_t1ce.nii.gz", "[0,1,0,0.5]", "A_t1.nii.gz", "[0,1,0,0]"});
  EXPECT_THROW(load("A", Purpose::prediction), DataError);

  other.geometry.affine[1][3] = 0.0005;
  write_image(file("A", "_t1ce"), other);
  load("A");
  expect_warning("is ignored");

  other.geometry = geometry();
  other.geometry.extent = {4, 3, 2};
  write_image(file("A", "_t1ce"), other);
  expect_error<DataError>([&] { load("A"); }, {"4x3x2", "3x4x2"});

  write_subject("A");
  LabelMap flipped = labels();
  flipped.geometry.affine[0] = {-1, 0, 0, 2};
  write_label_map(file("A", "_seg"), flipped);
  expect_error<DataError>([&] { load("A"); }, {"A_seg.nii.gz", "[-1,0,0,2]"});
}

TEST_F(BratsDataset, VoxelsThatAreNotFinite) {
  write_subject("A");
  Image bad = image(1);
  bad.voxels[0] = std::numeric_limits<float>::quiet_NaN();
  bad.voxels[5] = std::numeric_limits<float>::infinity();
  write_image(file("A", "_t2"), bad);
  expect_error<DataError>([&] { load("A"); }, {"A_t2.nii.gz", "found 2 NaN or infinite"});
  const Sample sample = load("A", Purpose::prediction);
  expect_warning("found 2 NaN or infinite values, set to 0");
  EXPECT_EQ(sample.image[sample.voxels()], 0);
  EXPECT_EQ(std::count(sample.image.begin(), sample.image.end(), 0.0f), 2);
}

TEST_F(BratsDataset, ConstantAndRepeatedVolumesWarn) {
  write_subject("A");
  Image constant = image(1);
  std::fill(constant.voxels.begin(), constant.voxels.end(), 7.0f);
  write_image(file("A", "_t2"), constant);
  load("A");
  ASSERT_EQ(warnings.size(), 1u);
  expect_warning("A_t2.nii.gz: voxels: all are 7");
  write_image(file("A", "_t2"), image(3));
  load("A");
  ASSERT_EQ(warnings.size(), 1u);
  expect_warning("A_flair.nii.gz: voxels: the same as in A_t2.nii.gz");
}

TEST_F(BratsDataset, LabelsOutsideTheSchemaAreErrorsNamingTheFile) {
  write_subject("A");
  LabelMap wrong = labels();
  wrong.voxels[3] = 3;
  write_label_map(file("A", "_seg"), wrong);
  expect_error<DataError>([&] { load("A"); }, {"A_seg.nii.gz", "3 (1 voxels)"});
}

TEST_F(BratsDataset, PreprocessingIsAppliedAndItsErrorsNameTheFile) {
  write_subject("A");
  const SubjectFiles subject = list().find("A");
  const LabelSchema& schema = brats_edition(2020).schema;
  const Sample sample = load_subject(subject, default_channels(),
                                     Preprocessing::parse("rescale(0,1) crop(1,0,0,1,0,0)"), schema);
  EXPECT_EQ(sample.extent, (std::array<int64_t, 3>{2, 3, 2}));
  EXPECT_EQ(sample.original.extent, (std::array<int64_t, 3>{3, 4, 2}));
  EXPECT_EQ(sample.labels[2 * 3 + 1 * 2 + 0], 3);  // (2, 1, 0) before the crop
  for (float v : sample.image) EXPECT_TRUE(v >= 0 && v <= 1);
  expect_error<DataError>(
      [&] { load_subject(subject, default_channels(), Preprocessing::parse("crop(2,2,0,0,0,0)"), schema); },
      {"A_t1.nii.gz"});
}

TEST_F(BratsDataset, TheNumberOfThreadsChangesNothing) {
  write_subject("A");
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const Sample one = load("A");
  omp_set_num_threads(5);
  const Sample five = load("A");
  omp_set_num_threads(before);
  EXPECT_EQ(one.image, five.image);
  EXPECT_EQ(one.labels, five.labels);
}

}  // namespace
}  // namespace vg::test
