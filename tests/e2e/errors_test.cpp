// What users get for wrong input: one line, the right exit code, nothing lost.
#include <fstream>

#include "e2e/command.h"

namespace vg::test {
namespace {

TEST(Errors, WrongUsage) {
  const TemporaryFolder folder;
  expect_one_line(run({}, folder), 2, {"--help"});
  expect_one_line(run({"trian"}, folder), 2, {"trian", "did you mean 'train'"});
  expect_one_line(run({"train", "--epochs", "-3"}, folder), 2, {"--epochs", "train --help"});
  expect_one_line(run({"train", "--no-such-option"}, folder), 2, {"--no-such-option"});
  const CommandResult help = run({"train", "--help"}, folder);
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.out.find("Examples"), std::string::npos);
  EXPECT_EQ(run({"--version"}, folder).out, "0.1.0\n");
}

TEST(Errors, Training) {
  const TemporaryFolder folder;
  const std::string run_folder = (folder / "run").string();
  expect_one_line(run({"train", "--output", run_folder}, folder), 1, {"--data"});
  expect_one_line(
      run({"train", "--data", (folder / "missing").string(), "--output", run_folder, "-q", "--device", "cpu"},
          folder),
      1, {"missing"});
  std::filesystem::create_directories(folder / "empty");
  expect_one_line(
      run({"train", "--data", (folder / "empty").string(), "--output", run_folder, "-q", "--device", "cpu"},
          folder),
      1, {"empty"});
  expect_one_line(run({"train", "--output", (folder / "nothing").string(), "--resume"}, folder), 1,
                  {"options.toml"});
  std::ofstream(folder / "bad.toml") << "lerning-rate = 1\n";
  expect_one_line(run({"train", "--config", (folder / "bad.toml").string()}, folder), 1,
                  {"lerning-rate", "learning-rate"});
}

TEST(Errors, FoldersThatCannotBeWrittenFailBeforeTraining) {
  if (geteuid() == 0) {
    // Root may write anywhere; a file in the folder's place stands for a folder that cannot be made.
    const TemporaryFolder folder;
    std::ofstream(folder / "file") << "x";
    const CommandResult result = run({"train", "--data", folder.path().string(), "--output",
                                      (folder / "file/run").string(), "-q", "--device", "cpu"},
                                     folder);
    expect_one_line(result, 1, {"file/run", "--output"});
    return;
  }
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "locked");
  std::filesystem::permissions(folder / "locked",
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  const CommandResult result = run({"train", "--data", folder.path().string(), "--output",
                                    (folder / "locked").string(), "-q", "--device", "cpu"},
                                   folder);
  expect_one_line(result, 1, {"locked", "--output"});
}

TEST(Errors, Checkpoints) {
  const TemporaryFolder folder;
  std::ofstream(folder / "x.safetensors") << "PK\x03\x04 a pickle";
  expect_one_line(run({"info", (folder / "x.safetensors").string()}, folder), 1,
                  {"pickle", "safetensors.torch.save_file"});
  expect_one_line(
      run({"predict", "--checkpoint", (folder / "none.safetensors").string(), "--input",
           folder.path().string(), "--output", (folder / "out").string(), "-q", "--device", "cpu"},
          folder),
      1, {"none.safetensors"});
  expect_one_line(
      run({"predict", "--checkpoint", VG_GOLDEN_DIR "/attention_unet.weights.safetensors", "--input",
           folder.path().string(), "--output", (folder / "out").string(), "-q", "--device", "cpu"},
          folder),
      1, {"--channels", "--preprocess"});
}

TEST(Errors, NiftiFiles) {
  const TemporaryFolder folder;
  std::ofstream(folder / "a.nii") << "<!DOCTYPE html><html></html>";
  expect_one_line(run({"info", (folder / "a.nii").string()}, folder), 1, {"a.nii"});
  expect_one_line(
      run({"transform", (folder / "a.nii").string(), (folder / "b.nii").string(), "--apply", "resmaple(1)"},
          folder),
      1, {"resmaple"});
  EXPECT_FALSE(std::filesystem::exists(folder / "b.nii"));
}

#ifndef VOXGRAD_WITH_CUDA
TEST(Errors, CudaThatIsNotThere) {
  const TemporaryFolder folder;
  expect_one_line(
      run({"predict", "--device", "cuda", "--checkpoint", "x", "--input", "y", "--output", "z"}, folder), 1,
      {"--device cuda", "built without CUDA"});
}
#endif

}  // namespace
}  // namespace vg::test
