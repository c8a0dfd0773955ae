// Figures from the command line.
#include <fstream>

#include "data/transforms.h"
#include "e2e/subjects.h"
#include "support/picture_files.h"

namespace vg::test {
namespace {

namespace fs = std::filesystem;

const std::string kId = "BraTS20_Training_001";

TEST(Render, WritesEveryKindOfFigure) {
  const TemporaryFolder folder;
  const CommandResult result = run(render_arguments(folder / "figures"), folder);
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.error, "");
  const DecodedPng png = decode_png(read_text(folder / ("figures/" + kId + ".png")));
  EXPECT_EQ(png.width, 24 + 3 * 480 + 2 * 16 + 24);
  const auto extent = data::read_label_map(subjects().file(kId, "seg")).geometry.extent;
  const DecodedGif gif = decode_gif(read_text(folder / ("figures/" + kId + ".gif")));
  EXPECT_EQ(gif.width, 2 * extent[0]);
  EXPECT_EQ(gif.indices.size(), static_cast<size_t>(extent[2]));
  EXPECT_NE(read_text(folder / ("figures/" + kId + ".html")).find("</html>"), std::string::npos);
  // Once more: the same bytes.
  ASSERT_EQ(run(render_arguments(folder / "again"), folder).exit_code, 0);
  for (const auto& entry : fs::directory_iterator(folder / "figures"))
    EXPECT_EQ(read_text(entry.path()), read_text(folder / ("again/" + entry.path().filename().string())));
}

TEST(Render, OnlyWhatIsAskedFor) {
  const TemporaryFolder folder;
  ASSERT_EQ(run(render_arguments(folder / "a", {"--gif", "--axis", "sagittal", "--delay", "200"}), folder)
                .exit_code,
            0);
  EXPECT_FALSE(fs::exists(folder / ("a/" + kId + ".png")));
  const DecodedGif gif = decode_gif(read_text(folder / ("a/" + kId + ".gif")));
  const auto extent = data::read_label_map(subjects().file(kId, "seg")).geometry.extent;
  EXPECT_EQ(gif.indices.size(), static_cast<size_t>(extent[0]));
  EXPECT_EQ(gif.delays.front(), 20);
}

TEST(Render, AFolderOfPredictionsWithItsDataSet) {
  const TemporaryFolder folder;
  const CommandResult result =
      run({"render", subjects().predictions.string(), "--data", subjects().data.string(), "--modality",
           "t1ce", "--output", (folder / "figures").string(), "--png", "--quiet"},
          folder);
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(fs::exists(folder / "figures/BraTS20_Training_001.png"));
  EXPECT_TRUE(fs::exists(folder / "figures/BraTS20_Training_002.png"));
}

TEST(Render, ErrorsAreOneLineAndLeaveNothing) {
  const TemporaryFolder folder;
  const fs::path output = folder / "figures";
  const std::string prediction = (subjects().predictions / (kId + ".nii.gz")).string();
  const auto render = [&](std::vector<std::string> more) {
    more.insert(more.begin(), "render");
    more.insert(more.end(), {"--output", output.string(), "--quiet"});
    return run(more, folder);
  };
  expect_one_line(run({"render"}, folder), 1, {"PREDICTION"});
  expect_one_line(render({prediction, "--truth", (folder / "none.nii.gz").string()}), 1, {"none.nii.gz"});
  data::LabelMap other = data::read_label_map(prediction);
  data::write_label_map(folder / "small.nii.gz", data::crop(other, {1, 0, 0, 0, 0, 0}));
  expect_one_line(render({prediction, "--truth", (folder / "small.nii.gz").string()}), 1,
                  {"small.nii.gz", "size", prediction});
  other.geometry.affine[2][3] += 5;
  data::write_label_map(folder / "moved.nii.gz", other);
  expect_one_line(render({prediction, "--truth", (folder / "moved.nii.gz").string()}), 1,
                  {"moved.nii.gz", "affine", "5 mm", prediction});
  other.voxels[0] = 9;
  data::write_label_map(folder / "labels.nii.gz", other);
  expect_one_line(render({(folder / "labels.nii.gz").string()}), 1, {"labels.nii.gz", "9 (1 voxels)"});
  expect_one_line(render({prediction, "--slice", "1000"}), 1, {"--slice", "1000"});
  expect_one_line(render({subjects().predictions.string(), "--truth", prediction}), 1, {"--truth", "--data"});
  expect_one_line(render({subjects().folder.path().string()}), 1, {"no label maps"});
  expect_one_line(render({VG_SOURCE_DIR "/README.md"}), 1, {"README.md", "NIfTI"});
  EXPECT_TRUE(!fs::exists(output) || fs::is_empty(output));
  std::ofstream(folder / "file") << "x";
  expect_one_line(run({"render", prediction, "--output", (folder / "file/figures").string()}, folder), 1,
                  {"file/figures", "--output"});
}

TEST(Render, CurvesOfARun) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "run");
  std::ofstream(folder / "run/epochs.csv") << "epoch,train_loss,dice_WT\n1,2.0,0.1\n2,1.5,0.4\n";
  const CommandResult result = run({"render", "--run", (folder / "run").string(), "-q"}, folder);
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_GT(decode_png(read_text(folder / "run/curves.png")).width, 1000);
  expect_one_line(run({"render", "--run", (folder / "none").string()}, folder), 1, {"none/epochs.csv"});
  EXPECT_FALSE(fs::exists(folder / "none"));
  expect_one_line(run({"render", "p.nii", "--run", (folder / "run").string()}, folder), 1, {"--run"});
}

TEST(Render, AFullDiskLeavesNoHalfFile) {
  const TemporaryFolder folder;
  const CommandResult result = Command(render_arguments(folder / "figures"), folder.path(), 4096).wait();
  expect_one_line(result, 1, {".png: cannot be written"});
  EXPECT_TRUE(fs::is_empty(folder / "figures"));
}

}  // namespace
}  // namespace vg::test
