#include "data/phantom.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>

#include "data/brats_dataset.h"
#include "data/nifti_io.h"
#include "data/phantom_noise.h"
#include "data/phantom_subject.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace vg::test {
namespace {

namespace fs = std::filesystem;
using namespace vg::data;

constexpr double kCoarse = 4;  // mm: 60x60x39 voxels

/// Made once: what every test looks at.
const Anatomy& brain() {
  static const Anatomy anatomy = procedural_anatomy(2);
  return anatomy;
}

PhantomOptions small_set(int64_t count) {
  PhantomOptions options;
  options.count = count;
  options.procedural = true;
  options.voxel_size = kCoarse;
  options.seed = 3;
  return options;
}

bool same(const PhantomSubject& a, const PhantomSubject& b) {
  return a.labels == b.labels && a.intensities == b.intensities;
}

TEST(PhantomNoise, NumbersAreStandardNormal) {
  PhantomRandom random(1, 2, PhantomStream::noise);
  double sum = 0, squares = 0;
  constexpr int count = 80000;
  for (int n = 0; n < count / 8; ++n) {
    for (float v : random.normals_at(n)) {
      sum += v;
      squares += v * v;
    }
  }
  EXPECT_NEAR(sum / count, 0, 0.02);
  EXPECT_NEAR(squares / count, 1, 0.02);
}

TEST(PhantomNoise, FieldsHaveUnitVarianceAndAreSmooth) {
  const SmoothField field(PhantomRandom(1, 2, PhantomStream::bias), {120, 100, 90}, 1, 5);
  double squares = 0, steps = 0;
  std::vector<float> row(120), shifted(50);
  for (int64_t k = 0; k < 90; k += 3) {
    for (int64_t j = 0; j < 100; j += 3) {
      field.row(0, j, k, row);
      for (int i = 0; i < 120; ++i) {
        squares += row[i] * row[i] / (120 * 30 * 34);
        if (i > 0) steps = std::max<double>(steps, std::fabs(row[i] - row[i - 1]));
      }
      field.row(60, j, k, shifted);  // any part of a row gives the same values
      for (int i = 0; i < 50; ++i) ASSERT_EQ(shifted[i], row[60 + i]);
    }
  }
  EXPECT_NEAR(squares, 1, 0.1);
  EXPECT_LT(steps, 1.6);
}

TEST(Phantom, SubjectsFollowFromSeedAndIndex) {
  const PhantomSubject subject = make_phantom_subject(brain(), 5, 7, kCoarse);
  EXPECT_TRUE(same(subject, make_phantom_subject(brain(), 5, 7, kCoarse)));
  EXPECT_FALSE(same(subject, make_phantom_subject(brain(), 5, 8, kCoarse)));
  EXPECT_FALSE(same(subject, make_phantom_subject(brain(), 6, 7, kCoarse)));
}

TEST(Phantom, GridIsThatOfBraTS) {
  const Geometry g = phantom_geometry();
  EXPECT_EQ(g.extent, (std::array<int64_t, 3>{240, 240, 155}));
  EXPECT_EQ(g.affine, (Affine{{{-1, 0, 0, 0}, {0, -1, 0, 239}, {0, 0, 1, 0}}}));
}

TEST(Phantom, TumoursHaveAllPartsInsideTheBrainAndVary) {
  std::array<int, 5> subjects_with{};
  std::vector<double> volumes;
  for (int64_t index = 1; index <= 12; ++index) {
    const PhantomSubject subject = make_phantom_subject(brain(), 1, index, 3);
    std::array<int64_t, 256> counts{};
    for (size_t n = 0; n < subject.labels.size(); ++n) {
      ++counts[subject.labels[n]];
      for (const auto& voxels : subject.intensities) {
        // Brain or not is the same in all modalities, and a tumour lies within.
        ASSERT_EQ(voxels[n] > 0, subject.intensities[0][n] > 0);
        ASSERT_TRUE(subject.labels[n] == 0 || voxels[n] > 0);
      }
    }
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), int64_t{0}),
              counts[0] + counts[1] + counts[2] + counts[4]);
    for (int label : {1, 2, 4}) subjects_with[label] += counts[label] > 0;
    volumes.push_back(27e-3 * static_cast<double>(counts[1] + counts[2] + counts[4]));  // mL
  }
  EXPECT_EQ(subjects_with[2], 12);
  EXPECT_GE(subjects_with[1], 8);
  EXPECT_GE(subjects_with[4], 8);
  for (double volume : volumes) {
    EXPECT_GT(volume, 4);
    EXPECT_LT(volume, 300);
  }
  EXPECT_GT(*std::max_element(volumes.begin(), volumes.end()),
            2 * *std::min_element(volumes.begin(), volumes.end()));
}

/// Mean intensity of each label.
struct Contrast {
  double oedema, necrosis, enhancing, healthy;
};

Contrast contrast(const PhantomSubject& subject, size_t modality) {
  std::array<double, 5> sum{}, count{};
  for (size_t n = 0; n < subject.labels.size(); ++n) {
    if (subject.intensities[modality][n] == 0) continue;
    sum[subject.labels[n]] += subject.intensities[modality][n];
    count[subject.labels[n]] += 1;
  }
  return {sum[2] / count[2], sum[1] / count[1], sum[4] / count[4], sum[0] / count[0]};
}

TEST(Phantom, ModalitiesShowWhatTheyShould) {
  int complete = 0;
  for (int64_t index = 1; index <= 6; ++index) {
    const PhantomSubject subject = make_phantom_subject(brain(), 2, index, 2);
    const auto has = [&](uint8_t label) {
      return std::count(subject.labels.begin(), subject.labels.end(), label) > 50;
    };
    if (!has(1) || !has(4)) continue;
    ++complete;
    const Contrast flair = contrast(subject, 0), t1 = contrast(subject, 1), t1ce = contrast(subject, 2),
                   t2 = contrast(subject, 3);
    EXPECT_GT(flair.oedema, 1.25 * flair.healthy) << index;
    EXPECT_GT(t2.oedema, 1.1 * t2.healthy) << index;
    EXPECT_LT(t1.oedema, t1.healthy) << index;
    EXPECT_GT(t1ce.enhancing, 1.2 * t1ce.healthy) << index;
    EXPECT_GT(t1ce.enhancing, 2 * t1ce.necrosis) << index;
    EXPECT_LT(t1.enhancing, t1.healthy) << index;
    EXPECT_GT(t2.necrosis, t2.healthy) << index;
  }
  EXPECT_GE(complete, 3);
}

TEST(Phantom, RealAnatomyIsUsedWhereItIsInstalled) {
  if (!fs::exists(default_anatomy_file)) {
    std::vector<std::string> warnings;
    const Anatomy fallback =
        choose_anatomy({}, false, 1, [&](const std::string& line) { warnings.push_back(line); });
    EXPECT_EQ(fallback.source, "procedural");
    EXPECT_EQ(warnings.size(), 1u);
    return;
  }
  const Anatomy anatomy = choose_anatomy({}, false);
  EXPECT_EQ(anatomy.source, default_anatomy_file);
  EXPECT_NEAR(anatomy.size[1], 179, 1);
  EXPECT_LT(anatomy.class_means[0], anatomy.class_means[1]);
  EXPECT_LT(anatomy.class_means[1], anatomy.class_means[2]);
  // T1 shows white matter brighter than grey, and the brain fills what it fills in BraTS: 1.2 to 1.6 litres.
  const PhantomSubject subject = make_phantom_subject(anatomy, 1, 1, kCoarse);
  const auto brain_voxels = std::count_if(subject.intensities[1].begin(), subject.intensities[1].end(),
                                          [](float v) { return v > 0; });
  EXPECT_GT(static_cast<double>(brain_voxels) * 0.064, 1100);
  EXPECT_LT(static_cast<double>(brain_voxels) * 0.064, 1700);
}

class PhantomDataset : public testing::Test {
 protected:
  TemporaryFolder folder_;
};

std::string content(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST_F(PhantomDataset, HasTheLayoutOfBraTS2020) {
  std::vector<std::string> reported;
  make_phantom_dataset(folder_ / "set", small_set(2),
                       [&](int64_t done, int64_t total, const std::string& id) {
                         EXPECT_EQ(done, static_cast<int64_t>(reported.size()) + 1);
                         EXPECT_EQ(total, 2);
                         reported.push_back(id);
                       });
  EXPECT_EQ(reported.size(), 2u);
  const SubjectList list = list_subjects(folder_ / "set");
  EXPECT_EQ(list.ids(), (std::vector<std::string>{"BraTS20_Training_001", "BraTS20_Training_002"}));
  for (const SubjectFiles& subject : list.subjects) {
    for (const auto& [modality, file] : subject.images) {
      const NiftiInfo info = read_nifti_info(file);
      EXPECT_EQ(info.geometry, phantom_geometry(kCoarse));
      EXPECT_EQ(info.datatype, "INT16");
      EXPECT_EQ(info.orientation, "LPS");
    }
    EXPECT_EQ(read_nifti_info(*subject.segmentation).datatype, "UINT8");
    const Sample sample =
        load_subject(subject, default_channels(), Preprocessing::parse("to_canonical rescale(0,1)"),
                     brats_edition(2020).schema);
    EXPECT_EQ(sample.extent, (std::array<int64_t, 3>{60, 60, 39}));
  }
  const PhantomSubject second = make_phantom_subject(brain(), 3, 2, kCoarse);
  EXPECT_EQ(read_image(list.subjects[1].images.at("t1ce")).voxels, second.image(2).voxels);
  EXPECT_EQ(read_label_map(*list.subjects[1].segmentation).voxels, second.label_map().voxels);
}

TEST_F(PhantomDataset, TheNumberOfThreadsChangesNothing) {
  const int before = omp_get_max_threads();
  for (int threads : {1, 3}) {
    omp_set_num_threads(threads);
    make_phantom_dataset(folder_ / std::to_string(threads), small_set(3));
  }
  omp_set_num_threads(before);
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "1")) {
    if (!entry.is_regular_file()) continue;
    ++files;
    const fs::path other = folder_ / "3" / fs::relative(entry.path(), folder_ / "1").string();
    EXPECT_EQ(content(entry.path()), content(other)) << other;
  }
  EXPECT_EQ(files, 3 * 5 + 1);
}

TEST_F(PhantomDataset, NeverOverwritesRealData) {
  fs::create_directories(folder_ / "BraTS20_Training_002");
  expect_error<DataError>([&] { make_phantom_dataset(folder_.path(), small_set(2)); },
                          {"BraTS20_Training_002", "nothing is overwritten"});
  EXPECT_FALSE(fs::exists(folder_ / "BraTS20_Training_001"));
  fs::remove(folder_ / "BraTS20_Training_002");
  make_phantom_dataset(folder_.path(), small_set(1));
  make_phantom_dataset(folder_.path(), small_set(1));  // its own work may be made again
}

TEST_F(PhantomDataset, RejectsBadOptionsAndAnatomies) {
  const auto rejected = [&](auto change, std::initializer_list<std::string> parts) {
    PhantomOptions options = small_set(1);
    change(options);
    expect_error<std::invalid_argument>([&] { make_phantom_dataset(folder_ / "set", options); }, parts);
  };
  rejected([](PhantomOptions& o) { o.count = 0; }, {"count is 0"});
  rejected([](PhantomOptions& o) { o.voxel_size = 0; }, {"voxel_size is 0"});
  rejected([](PhantomOptions& o) { o.first_index = -1; }, {"first_index is -1"});
  rejected([](PhantomOptions& o) { o.anatomy = "x.nii"; }, {"both"});

  const auto anatomy_error = [&](float background, float nonfinite, const char* part) {
    Image image;
    image.geometry.extent = {20, 20, 20};
    image.voxels.assign(8000, background);
    for (int64_t n = 0; n < 8000; ++n) {
      if (n % 20 > 2 && n % 20 < 17 && n / 400 > 2 && n / 400 < 17)
        image.voxels[n] = static_cast<float>(10 + n % 7);
    }
    image.voxels[0] = nonfinite;
    write_image(folder_ / "t1.nii.gz", image);
    expect_error<DataError>([&] { read_anatomy(folder_ / "t1.nii.gz"); },
                            {"t1.nii.gz", part, "skull-stripped"});
  };
  anatomy_error(1, 0, "border voxels above 0");
  anatomy_error(0, NAN, "1 NaN");
  EXPECT_THROW(read_anatomy(folder_ / "none.nii.gz"), DataError);
  EXPECT_FALSE(fs::exists(folder_ / "set"));
}

}  // namespace
}  // namespace vg::test
