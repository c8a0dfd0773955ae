#include "data/sample_cache.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "data/nifti_io.h"
#include "support/temporary_folder.h"

namespace vg::test {
namespace {

namespace fs = std::filesystem;
using namespace vg::data;

/// Two subjects of 5 x 4 x 3 voxels, and a cache beside them.
class SampleCacheTest : public testing::Test {
 protected:
  SampleCacheTest() {
    for (const char* id : {"BraTS20_Training_001", "BraTS20_Training_002"}) write_subject(id, 0);
  }
  fs::path file(const std::string& id, const std::string& name) const {
    return folder_ / "data" / id / (id + "_" + name + ".nii.gz");
  }
  /// Files whose values depend on `value`.
  void write_subject(const std::string& id, int value) const {
    fs::create_directories(folder_ / "data" / id);
    Geometry geometry;
    geometry.extent = {5, 4, 3};
    geometry.affine = {{{1.1, 0.01, 0, -7.3}, {0, 0.9, 0, 3}, {0.02, 0, 1.3, 1e-3}}};
    Image image{geometry, std::vector<float>(60)};
    for (const std::string name : {"t1", "t2", "t1ce", "flair"}) {
      ++value;
      for (size_t i = 0; i < 60; ++i)
        image.voxels[i] = static_cast<float>(i * i % 17) + 100.f * static_cast<float>(value);
      write_image(file(id, name), image);
    }
    LabelMap labels{geometry, std::vector<uint8_t>(60)};
    labels.voxels[7] = 4;
    write_label_map(file(id, "seg"), labels);
  }
  SubjectFiles subject(const std::string& id = "BraTS20_Training_001") const {
    return list_subjects(folder_ / "data").find(id);
  }
  SampleCache cache(const std::string& preprocessing = "to_canonical rescale(0,1)",
                    const std::vector<std::string>& channels = default_channels()) const {
    return {cache_folder(), channels, Preprocessing::parse(preprocessing), brats_edition(2020).schema};
  }
  fs::path cache_folder() const { return folder_ / "cache/of/samples"; }
  const TemporaryFolder& folder() const { return folder_; }

  static void expect_same(const Sample& a, const Sample& b) {
    EXPECT_EQ(a.id, b.id);
    EXPECT_EQ(a.extent, b.extent);
    EXPECT_EQ(a.channels, b.channels);
    EXPECT_EQ(a.image, b.image);
    EXPECT_EQ(a.labels, b.labels);
    EXPECT_EQ(a.geometry, b.geometry);
    EXPECT_EQ(a.original, b.original);
  }

 private:
  TemporaryFolder folder_;
};

/// Fails unless there is one warning, of one line, with these parts.
void expect_warning(SampleCache& cache, const std::vector<std::string>& parts) {
  const std::vector<std::string> warnings = cache.take_warnings();
  ASSERT_EQ(warnings.size(), 1u) << testing::PrintToString(warnings);
  EXPECT_EQ(warnings[0].find('\n'), std::string::npos) << warnings[0];
  for (const std::string& part : parts) EXPECT_NE(warnings[0].find(part), std::string::npos) << warnings[0];
  EXPECT_TRUE(cache.take_warnings().empty());
}

TEST_F(SampleCacheTest, GivesBackWhatWasLoaded) {
  SampleCache first = cache();
  EXPECT_FALSE(first.read(subject()).has_value());
  const Sample loaded = first.load(subject());
  EXPECT_EQ(loaded.image.size(), 240u);
  EXPECT_EQ(loaded.labels.size(), 60u);
  expect_same(loaded,
              load_subject(subject(), default_channels(), Preprocessing::parse("to_canonical rescale(0,1)"),
                           brats_edition(2020).schema));
  SampleCache second = cache();
  const std::optional<Sample> kept = second.read(subject());
  ASSERT_TRUE(kept.has_value());
  expect_same(*kept, loaded);
  EXPECT_FALSE(second.read(subject("BraTS20_Training_002")).has_value());
  EXPECT_TRUE(first.take_warnings().empty());
  EXPECT_TRUE(second.take_warnings().empty());
}

TEST_F(SampleCacheTest, IsMadeAgainWhenAFileChanges) {
  SampleCache samples = cache();
  const Sample before = samples.load(subject());
  write_subject("BraTS20_Training_001", 5);
  EXPECT_FALSE(samples.read(subject()).has_value());  // sizes or times differ
  (void)samples.load(subject());
  EXPECT_TRUE(samples.read(subject()).has_value());

  // Another time of change alone; another place; another size alone.
  const fs::path seg = file("BraTS20_Training_001", "seg");
  fs::last_write_time(seg, fs::last_write_time(seg) + std::chrono::seconds(1));
  EXPECT_FALSE(samples.read(subject()).has_value());
  (void)samples.load(subject());
  const auto time = fs::last_write_time(seg);
  std::ofstream(seg, std::ios::app) << '\0';
  fs::last_write_time(seg, time);
  EXPECT_FALSE(samples.read(subject()).has_value());
  (void)samples.load(subject());
  SubjectFiles moved = subject();
  fs::copy_file(moved.images.at("t1"), folder() / "t1.nii.gz");
  fs::last_write_time(folder() / "t1.nii.gz", fs::last_write_time(moved.images.at("t1")));
  moved.images.at("t1") = folder() / "t1.nii.gz";
  EXPECT_FALSE(samples.read(moved).has_value());
  EXPECT_TRUE(samples.take_warnings().empty());
}

TEST_F(SampleCacheTest, OtherParametersHaveFilesOfTheirOwn) {
  const std::vector<std::string> turned = {"flair", "t1", "t2", "t1ce"};
  SampleCache a = cache(), b = cache("to_canonical rescale(0,2)"),
              c = cache("to_canonical rescale(0,1)", turned);
  const Sample of_a = a.load(subject());
  EXPECT_FALSE(b.read(subject()).has_value());
  EXPECT_FALSE(c.read(subject()).has_value());
  EXPECT_NE(b.load(subject()).image, of_a.image);
  (void)c.load(subject());
  expect_same(*a.read(subject()), of_a);  // still there
  EXPECT_NE(a.file_of("x"), b.file_of("x"));
  EXPECT_NE(a.file_of("x"), c.file_of("x"));
  SampleCache schema(cache_folder(), default_channels(), Preprocessing::parse("to_canonical rescale(0,1)"),
                     brats_edition(2023).schema);
  EXPECT_NE(a.file_of("x"), schema.file_of("x"));
}

TEST_F(SampleCacheTest, AFileChangedWhileItWasReadIsNotKept) {
  SampleCache samples = cache();
  const std::string key = samples.key_of(subject());
  const Sample sample =
      load_subject(subject(), default_channels(), Preprocessing::parse("none"), brats_edition(2020).schema);
  write_subject("BraTS20_Training_001", 9);
  samples.write(subject(), sample, key);
  EXPECT_FALSE(fs::exists(samples.file_of("BraTS20_Training_001")));
}

TEST_F(SampleCacheTest, DamageIsToldAndMended) {
  SampleCache samples = cache();
  const Sample good = samples.load(subject());
  const fs::path kept = samples.file_of(good.id);
  const auto bytes = fs::file_size(kept);
  const auto flip = [&](int64_t place) {
    std::fstream stream(kept, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(place);
    const int byte = stream.get();
    stream.seekp(place);
    stream.put(static_cast<char>(byte ^ 4));
  };
  for (const int64_t place : {int64_t{0}, int64_t{18}, int64_t{23}, static_cast<int64_t>(bytes) - 300,
                              static_cast<int64_t>(bytes) - 2}) {
    flip(place);
    EXPECT_FALSE(samples.read(subject()).has_value()) << place;
    expect_warning(samples, {kept.string()});
    expect_same(samples.load(subject()), good);  // one warning more
    expect_warning(samples, {kept.string(), "made again"});
    EXPECT_TRUE(samples.read(subject()).has_value());
  }
  fs::resize_file(kept, bytes - 100);
  EXPECT_FALSE(samples.read(subject()).has_value());
  expect_warning(samples, {kept.string(), std::to_string(bytes - 100), std::to_string(bytes)});
  fs::resize_file(kept, bytes / 2);
  EXPECT_FALSE(samples.read(subject()).has_value());
  expect_warning(samples, {kept.string()});
  std::ofstream(kept, std::ios::trunc);
  expect_same(samples.load(subject()), good);
  expect_warning(samples, {kept.string(), "0 bytes"});

  // A file of a later version is none of this version's business.
  {
    std::fstream stream(kept, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(15);
    stream.put('9');
  }
  EXPECT_FALSE(samples.read(subject()).has_value());
  EXPECT_TRUE(samples.take_warnings().empty());
}

TEST_F(SampleCacheTest, WithoutAFolderTheRunGoesOn) {
  std::ofstream(folder() / "cache") << "a file in its place";
  SampleCache samples = cache();
  expect_warning(samples, {cache_folder().string(), "--cache"});
  EXPECT_EQ(samples.load(subject()).image.size(), 240u);
  EXPECT_EQ(samples.load(subject("BraTS20_Training_002")).image.size(), 240u);
  EXPECT_TRUE(samples.take_warnings().empty());
}

TEST_F(SampleCacheTest, SeveralThreadsShareIt) {
  SampleCache samples = cache();
  const Sample first = samples.load(subject());
  std::vector<std::jthread> threads;
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&, n] {
      const std::string id = n % 2 == 0 ? "BraTS20_Training_001" : "BraTS20_Training_002";
      for (int i = 0; i < 5; ++i) EXPECT_EQ(samples.load(subject(id)).image, first.image);
    });
  }
  threads.clear();
  EXPECT_TRUE(samples.take_warnings().empty());
}

}  // namespace
}  // namespace vg::test
