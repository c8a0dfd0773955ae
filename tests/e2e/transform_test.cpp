// voxgrad transform and augment-preview, as a user calls them.
#include <png.h>

#include "data/nifti_io.h"
#include "e2e/command.h"

namespace vg::test {
namespace {

class TransformCommand : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run({"phantom", (folder_ / "data").string(), "--subjects", "1", "--voxel-size", "6", "--quiet"},
                  folder_)
                  .exit_code,
              0);
  }
  std::string file(const std::string& part) const {
    return (folder_ / ("data/BraTS20_Training_001/BraTS20_Training_001_" + part + ".nii.gz")).string();
  }
  CommandResult transform(const std::string& part, const std::string& out, const std::string& text,
                          const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"transform", file(part), (folder_ / out).string(), "--apply", text};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments, folder_);
  }
  TemporaryFolder folder_;
};

TEST_F(TransformCommand, EveryTransformRunsAndTheSameSeedGivesTheSame) {
  const data::Image before = data::read_image(file("t1"));
  for (const std::string text :
       {"random_ghosting()", "random_spike()", "random_bias_field()", "random_motion()", "random_noise()",
        "random_gamma()", "random_blur()", "random_anisotropy()", "random_elastic()", "random_affine()",
        "random_flip(flip_probability=1)", "ghosting(num_ghosts=6,axis=1,intensity=0.5)"}) {
    const CommandResult first = transform("t1", "a.nii.gz", text, {"--seed", "4"});
    ASSERT_EQ(first.exit_code, 0) << first.error;
    transform("t1", "b.nii.gz", text, {"--seed", "4"});
    const data::Image a = data::read_image(folder_ / "a.nii.gz"), b = data::read_image(folder_ / "b.nii.gz");
    EXPECT_EQ(a.voxels, b.voxels) << text;
    EXPECT_NE(a.voxels, before.voxels) << text;
    EXPECT_EQ(a.geometry.extent, before.geometry.extent);
    if (!text.starts_with("random_")) continue;
    if (!text.starts_with("random_flip")) {
      transform("t1", "b.nii.gz", text, {"--seed", "5"});
      EXPECT_NE(data::read_image(folder_ / "b.nii.gz").voxels, a.voxels) << text;
    }
    // What it printed does the same.
    ASSERT_EQ(transform("t1", "c.nii.gz", first.out.substr(0, first.out.size() - 1)).exit_code, 0);
    EXPECT_EQ(data::read_image(folder_ / "c.nii.gz").voxels, a.voxels) << first.out;
  }
}

TEST_F(TransformCommand, SeveralInARowWithPreprocessingBetween) {
  const std::string text =
      "to_canonical flip(axes=0) resample(9) noise(mean=0.5,std=0,seed=1) shape_multiple(8) flip(axes=0)";
  ASSERT_EQ(transform("t2", "out.nii.gz", text).exit_code, 0);
  ASSERT_EQ(transform("t2", "step1.nii.gz", "to_canonical flip(axes=0) resample(9)").exit_code, 0);
  ASSERT_EQ(run({"transform", (folder_ / "step1.nii.gz").string(), (folder_ / "step2.nii.gz").string(),
                 "--apply", "noise(mean=0.5,std=0,seed=1) shape_multiple(8) flip(axes=0)"},
                folder_)
                .exit_code,
            0);
  EXPECT_EQ(data::read_image(folder_ / "out.nii.gz").voxels,
            data::read_image(folder_ / "step2.nii.gz").voxels);
}

TEST_F(TransformCommand, LabelsMoveWithTheImageAndStayLabels) {
  for (const std::string text :
       {"random_flip(axes=(0,1,2))", "random_noise() random_elastic(max_displacement=40)"}) {
    ASSERT_EQ(transform("seg", "labels.nii.gz", text, {"--labels", "--seed", "1"}).exit_code, 0);
    ASSERT_EQ(transform("seg", "again.nii.gz", text, {"--labels", "--seed", "1"}).exit_code, 0);
    const data::LabelMap moved = data::read_label_map(folder_ / "labels.nii.gz");
    EXPECT_EQ(moved.voxels, data::read_label_map(folder_ / "again.nii.gz").voxels);
    EXPECT_NE(moved.voxels, data::read_label_map(file("seg")).voxels) << text;
    for (const uint8_t label : moved.voxels)
      ASSERT_TRUE(label == 0 || label == 1 || label == 2 || label == 4);
  }
  ASSERT_EQ(transform("seg", "labels.nii.gz", "random_noise()", {"--labels"}).exit_code, 0);
  EXPECT_EQ(data::read_label_map(folder_ / "labels.nii.gz").voxels, data::read_label_map(file("seg")).voxels);
}

TEST_F(TransformCommand, MistakesAreOneLineAndNothingIsWritten) {
  expect_one_line(transform("t1", "x.nii.gz", "random_gosting()"), 1, {"random_gosting", "random_ghosting"});
  expect_one_line(transform("t1", "x.nii.gz", "resampl(1.5)"), 1, {"resampl", "resample"});
  expect_one_line(transform("t1", "x.nii.gz", "ghosting(num_ghosts=6,axis=7,intensity=0.5)"), 1,
                  {"ghosting", "axis", "7"});
  expect_one_line(transform("t1", "x.nii.gz", "random_gamma(log_gamma=(1,2)"), 1,
                  {"character", "parenthesis"});
  expect_one_line(run({"transform", "--seed", "3"}, folder_), 1, {"INPUT", "--list"});
  EXPECT_FALSE(std::filesystem::exists(folder_ / "x.nii.gz"));
  EXPECT_NE(run({"transform", "--list"}, folder_).out.find("random_elastic"), std::string::npos);
}

TEST_F(TransformCommand, AugmentPreviewDrawsARowForEachTransform) {
  const auto size_of = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"augment-preview", (folder_ / "data/BraTS20_Training_001").string(),
                                          (folder_ / "sheet.png").string(), "--preprocess",
                                          "to_canonical rescale(0,1)"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result = run(arguments, folder_);
    EXPECT_EQ(result.exit_code, 0) << result.error;
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    EXPECT_NE(png_image_begin_read_from_file(&image, (folder_ / "sheet.png").c_str()), 0);
    const std::pair<uint32_t, uint32_t> size{image.width, image.height};
    png_image_free(&image);
    return size;
  };
  const auto two = size_of({"--transform", "random_gamma()", "--transform", "random_flip()"});
  const auto three = size_of(
      {"--transform", "random_gamma()", "--transform", "random_flip()", "--transform", "random_blur()"});
  const auto all = size_of({});
  EXPECT_EQ(two.first, all.first);
  EXPECT_EQ((all.second - two.second) % (three.second - two.second), 0u);
  EXPECT_EQ((all.second - two.second) / (three.second - two.second), 9u);  // eleven kinds
  expect_one_line(run({"augment-preview", (folder_ / "nothing").string(), "x.png"}, folder_), 1, {"nothing"});
}

}  // namespace
}  // namespace vg::test
