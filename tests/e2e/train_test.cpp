// The product as a whole: phantom, train, kill, resume, predict, evaluate.
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "data/nifti_io.h"
#include "e2e/command.h"
#include "engine/safetensors.h"
#include "kernels/conv3d/conv3d_inference.h"

namespace vg::test {
namespace {

// A tiny data set, made once for all tests of this program.
const std::filesystem::path& phantom() {
  static const TemporaryFolder folder;
  static const std::filesystem::path data = [] {
    const CommandResult result = run({"phantom", (folder / "data").string(), "--subjects", "5",
                                      "--voxel-size", "7.5", "--seed", "3", "--quiet"},
                                     folder);
    if (result.exit_code != 0) throw std::runtime_error(result.error);
    return folder / "data";
  }();
  return data;
}

std::vector<std::string> train_arguments(const std::filesystem::path& output) {
  return {
      "train",
      "--data",
      phantom().string(),
      "--output",
      output.string(),
      "--preprocess",
      "to_canonical rescale(0,1) shape_multiple(8)",
      "--network-channels",
      "4,8,8",
      "--batch-size",
      "2",
      "--epochs",
      "6",
      "--learning-rate",
      "0.01",
      "--dropout",
      "0.1",
      "--augment",
      "random_flip(axes=(0,1,2)) one_of(random_ghosting(),random_spike(),random_bias_field(),random_motion(),"
      "random_elastic(num_control_points=5),p=0.8)",
      "--device",
      "cpu",
      "--seed",
      "5",
      "--checkpoint-every",
      "3",
      "--quiet"};
}

std::vector<std::string> with(std::vector<std::string> arguments, const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

void expect_same_tensors(const std::filesystem::path& a, const std::filesystem::path& b) {
  const Safetensors first = load_safetensors(a), second = load_safetensors(b);
  ASSERT_EQ(first.tensors.size(), second.tensors.size());
  for (const auto& [name, tensor] : first.tensors) {
    if (tensor.dtype() == DType::float32) {
      EXPECT_EQ(tensor.values(), second.at(name).values()) << name;
    } else {
      EXPECT_EQ(tensor.values<int64_t>(), second.at(name).values<int64_t>()) << name;
    }
  }
}

std::vector<nlohmann::json> log_of(const std::filesystem::path& folder) {
  std::vector<nlohmann::json> entries;
  std::ifstream stream(folder / "log.jsonl");
  for (std::string line; std::getline(stream, line);) entries.push_back(nlohmann::json::parse(line));
  return entries;
}

std::vector<double> losses(const std::filesystem::path& folder) {
  std::vector<double> values;
  for (const nlohmann::json& entry : log_of(folder)) values.push_back(entry.at("loss"));
  return values;
}

size_t lines_of(const std::filesystem::path& file) {
  const std::string text = read_text(file);
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST(Train, SameSeedSameBitsForAnyNumberOfThreads) {
  const TemporaryFolder folder;
  ASSERT_EQ(run(with(train_arguments(folder / "a"), {"--threads", "1"}), folder).exit_code, 0);
  ASSERT_EQ(run(with(train_arguments(folder / "b"), {"--threads", "3"}), folder).exit_code, 0);
  expect_same_tensors(folder / "a/last.safetensors", folder / "b/last.safetensors");
  EXPECT_EQ(losses(folder / "a"), losses(folder / "b"));
  EXPECT_LT(losses(folder / "a").back(), losses(folder / "a").front());
}

// What the log says of a step's sample is enough to make its files again; training on those gives the same
// loss.
TEST(Train, TheLogMakesAnAugmentedSampleAgain) {
  const TemporaryFolder folder;
  const std::string id = "BraTS20_Training_002", steps = "to_canonical rescale(0,1) shape_multiple(8)";
  std::ofstream(folder / "split.json")
      << R"({"train": [")" + id + R"("], "validation": ["BraTS20_Training_005"]})";
  const std::vector<std::string> more = {
      "--split-file", (folder / "split.json").string(), "--batch-size", "1", "--epochs", "3"};
  ASSERT_EQ(run(with(train_arguments(folder / "first"), more), folder).exit_code, 0);
  const std::vector<nlohmann::json> log = log_of(folder / "first");
  ASSERT_EQ(log.size(), 3u);
  std::vector<std::string> drawn;
  for (const nlohmann::json& entry : log) drawn.push_back(entry.at("augmentation").at(id).dump());
  EXPECT_TRUE(drawn[0] != drawn[1] || drawn[1] != drawn[2]) << drawn[0];

  const nlohmann::json texts = log.front().at("augmentation").at(id);
  ASSERT_FALSE(texts.empty());
  const std::string other = "BraTS20_Training_005";
  for (const std::string& subject : {id, other}) {
    std::filesystem::create_directories(folder / "data" / subject);
    for (const std::string part : {"t1", "t2", "t1ce", "flair", "seg"}) {
      const std::string file = subject + "/" + subject + "_" + part + ".nii.gz";
      const std::string more_steps = subject == id ? texts.value(part == "seg" ? "labels" : part, "") : "";
      std::vector<std::string> transform = {"transform", (phantom() / file).string(),
                                            (folder / "data" / file).string(), "--apply",
                                            steps + " " + more_steps};
      if (part == "seg") transform.push_back("--labels");
      const CommandResult result = run(transform, folder);
      ASSERT_EQ(result.exit_code, 0) << result.error;
    }
  }
  ASSERT_EQ(run(with(with(train_arguments(folder / "again"), more),
                     {"--data", (folder / "data").string(), "--preprocess", "none", "--no-augment",
                      "--max-steps", "1"}),
                folder)
                .exit_code,
            0);
  EXPECT_EQ(losses(folder / "again").front(), losses(folder / "first").front());
}

TEST(Train, KilledAnywhereItResumesBitForBit) {
  const TemporaryFolder folder;
  ASSERT_EQ(run(train_arguments(folder / "whole"), folder).exit_code, 0);
  // Kills at growing delays hit different moments; each resumed run is killed again until one ends by itself.
  const Command first(train_arguments(folder / "killed"), folder.path());
  for (int wait = 0; wait < 6000 && !std::filesystem::exists(folder / "killed/last.safetensors"); ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  first.kill(SIGKILL);
  EXPECT_EQ(first.wait().exit_code, 128 + SIGKILL);
  int delay = 60, kills = 1;
  while (true) {
    const Command command({"train", "--output", (folder / "killed").string(), "--resume", "--quiet"},
                          folder.path());
    std::this_thread::sleep_for(std::chrono::milliseconds(delay));
    command.kill(SIGKILL);
    const CommandResult result = command.wait();
    if (result.exit_code == 0) break;
    ASSERT_EQ(result.exit_code, 128 + SIGKILL) << result.error;
    delay += 60;
    ASSERT_LT(++kills, 200);
  }
  EXPECT_GT(kills, 1);
  expect_same_tensors(folder / "whole/last.safetensors", folder / "killed/last.safetensors");
  expect_same_tensors(folder / "whole/best.safetensors", folder / "killed/best.safetensors");
  EXPECT_EQ(losses(folder / "whole"), losses(folder / "killed"));
  EXPECT_EQ(lines_of(folder / "whole/epochs.csv"), lines_of(folder / "killed/epochs.csv"));
}

TEST(Train, SignalsFinishTheStepAndSave) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const TemporaryFolder folder;
    const Command command(with(train_arguments(folder / "run"), {"--epochs", "100000"}), folder.path());
    for (int wait = 0; wait < 3000 && lines_of(folder / "run/log.jsonl") < 2; ++wait) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    command.kill(signal);
    EXPECT_EQ(command.wait().exit_code, 128 + signal);
    const Safetensors checkpoint = load_safetensors(folder / "run/last.safetensors");
    const auto state = nlohmann::json::parse(checkpoint.metadata.at("voxgrad.training"));
    EXPECT_EQ(state.at("step").get<size_t>(), lines_of(folder / "run/log.jsonl"));
  }
}

TEST(Train, AFullDiskKeepsTheLastCheckpoint) {
  const TemporaryFolder folder;
  ASSERT_EQ(run(with(train_arguments(folder / "run"), {"--epochs", "1"}), folder).exit_code, 0);
  const auto checkpoint = folder / "run/last.safetensors";
  const std::string before = read_text(checkpoint);
  const CommandResult result =
      Command({"train", "--output", (folder / "run").string(), "--resume", "--epochs", "3", "--quiet"},
              folder.path(), before.size() / 2)
          .wait();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.error.find("last.safetensors: cannot be written"), std::string::npos) << result.error;
  EXPECT_EQ(read_text(checkpoint), before);
  EXPECT_EQ(
      run({"train", "--output", (folder / "run").string(), "--resume", "--epochs", "3", "--quiet"}, folder)
          .exit_code,
      0);
}

// The names of a folder's files.
std::vector<std::string> files_of(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  if (!std::filesystem::exists(folder)) return names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(Train, PreprocessedSubjectsAreKeptOnTheDisk) {
  const TemporaryFolder folder;
  const std::vector<std::string> two_epochs = {"--epochs", "2"};
  const auto train = [&](const std::string& name, const std::vector<std::string>& more) {
    const CommandResult result = run(with(with(train_arguments(folder / name), two_epochs), more), folder);
    EXPECT_EQ(result.exit_code, 0) << result.error;
    return result.error;
  };
  const std::string shared = (folder / "shared").string();
  EXPECT_EQ(train("default", {}), "");
  EXPECT_EQ(files_of(folder / "default/cache").size(), 5u);
  EXPECT_EQ(train("first", {"--cache", shared}), "");
  const std::vector<std::string> kept = files_of(shared);
  EXPECT_EQ(kept.size(), 5u);
  EXPECT_FALSE(std::filesystem::exists(folder / "first/cache"));
  EXPECT_EQ(train("none", {"--cache", "none", "--cache-gb", "0"}), "");
  EXPECT_FALSE(std::filesystem::exists(folder / "none/cache"));

  // What was kept is what is used, and where it is damaged the files are.
  std::filesystem::resize_file(shared + "/" + kept[0], 1000);
  const std::string warning = train("second", {"--cache", shared, "--cache-gb", "0"});
  EXPECT_EQ(std::count(warning.begin(), warning.end(), '\n'), 1) << warning;
  EXPECT_NE(warning.find(kept[0]), std::string::npos) << warning;
  EXPECT_EQ(files_of(shared), kept);
  EXPECT_EQ(train("third", {"--cache", shared, "--cache-gb", "0"}), "");
  for (const char* name : {"first", "none", "second", "third"}) {
    EXPECT_EQ(losses(folder / name), losses(folder / "default")) << name;
    expect_same_tensors(folder / (std::string(name) + "/last.safetensors"),
                        folder / "default/last.safetensors");
  }
}

TEST(Train, ACacheThatCannotBeWrittenStopsNothing) {
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "x";
  const std::vector<std::string> one_step = {"--max-steps", "1"};
  expect_one_line(
      run(with(with(train_arguments(folder / "a"), one_step), {"--cache", (folder / "file").string()}),
          folder),
      0, {"file", "--cache"});
  // A disk too full for the subjects, though not for the checkpoints.
  const CommandResult full =
      Command(with(train_arguments(folder / "b"), one_step), folder.path(), 300'000).wait();
  expect_one_line(full, 0, {"cache", "cannot be written", "goes on"});
  EXPECT_TRUE(files_of(folder / "b/cache").empty());
}

TEST(Train, WeightsThatDoNotFitNameTheTensorAndBothShapes) {
  const TemporaryFolder folder;
  Safetensors weights = load_safetensors(VG_GOLDEN_DIR "/attention_unet.weights.safetensors");
  for (auto& [name, tensor] : weights.tensors) {
    if (name == "model.0.conv.1.conv.weight") tensor = Tensor::zeros({4, 5, 3, 3, 3});
  }
  save_safetensors(folder / "w.safetensors", weights);
  const CommandResult result =
      run(with(train_arguments(folder / "run"), {"--init", (folder / "w.safetensors").string()}), folder);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.error.find("model.0.conv.1.conv.weight"), std::string::npos) << result.error;
  EXPECT_NE(result.error.find("[4, 5, 3, 3, 3]"), std::string::npos) << result.error;
  EXPECT_NE(result.error.find("[4, 4, 3, 3, 3]"), std::string::npos) << result.error;
}

TEST(Train, AccumulatedBatchesAndMaxSteps) {
  const TemporaryFolder folder;
  const CommandResult result =
      run(with(train_arguments(folder / "run"),
               {"--accumulate", "2", "--max-steps", "3", "--clip-norm", "1", "--schedule", "poly"}),
          folder);
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(losses(folder / "run").size(), 3u);
  EXPECT_TRUE(std::filesystem::exists(folder / "run/best.safetensors"));
}

TEST(Train, PresetSeedGoesFromDataToScoresAndFigures) {
  const TemporaryFolder folder;
  const CommandResult result =
      run({"train", "--preset", "seed", "--data", phantom().string(), "--output", (folder / "run").string(),
           "--preprocess", "to_canonical rescale(0,1) shape_multiple(8)", "--network-channels", "4,8,8",
           "--batch-size", "2", "--epochs", "2", "--device", "cpu"},
          folder);
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_NE(result.out.find("mean of regions"), std::string::npos) << result.out;
  const std::string id = "BraTS20_Training_005";  // the last fifth of five subjects validates
  for (const std::string name : {"curves.png", "evaluation.json", "predictions/ID.nii.gz",
                                 "figures/best_ID.png", "figures/best_ID.gif", "figures/best_ID.html"}) {
    std::string file = name;
    if (const size_t at = file.find("ID"); at != std::string::npos) file.replace(at, 2, id);
    EXPECT_TRUE(std::filesystem::exists(folder / "run" / file)) << file;
  }
  std::ifstream scores(folder / "run/evaluation.json");
  EXPECT_EQ(nlohmann::json::parse(scores).at("subjects").size(), 1u);
  const nlohmann::json step = log_of(folder / "run").front();
  EXPECT_DOUBLE_EQ(step.at("lr"), 2e-2);
  EXPECT_EQ(step.at("augmentation").size(), 2u);
  // Resuming a run that has ended repeats its report and nothing else.
  std::filesystem::remove_all(folder / "run/figures");
  ASSERT_EQ(run({"train", "--output", (folder / "run").string(), "--resume", "--quiet"}, folder).exit_code,
            0);
  EXPECT_TRUE(std::filesystem::exists(folder / ("run/figures/best_" + id + ".png")));
  EXPECT_EQ(log_of(folder / "run").size(), 4u);
}

/// A column of epochs.csv.
std::vector<std::string> epochs_column(const std::filesystem::path& folder, const std::string& name) {
  std::ifstream stream(folder / "epochs.csv");
  std::vector<std::string> values;
  std::string line, cell;
  size_t column = 0;
  for (bool heading = true; std::getline(stream, line); heading = false) {
    std::istringstream cells(line);
    for (size_t i = 0; std::getline(cells, cell, ','); ++i) {
      if (heading && cell == name) column = i;
      if (!heading && i == column) values.push_back(cell);
    }
  }
  return values;
}

TEST(Train, SeedCompatRepeatsTheSeedsMistakes) {
  const TemporaryFolder folder;
  const data::LabelMap labels =
      data::read_label_map(phantom() / "BraTS20_Training_005/BraTS20_Training_005_seg.nii.gz");
  for (const uint8_t label : {1, 2, 4})  // so that renumbering changes nothing in validation
    ASSERT_NE(std::find(labels.voxels.begin(), labels.voxels.end(), label), labels.voxels.end());
  const std::vector<std::string> more = {"--epochs", "2", "--augment", "random_bias_field(coefficients=2)"};
  const auto train = [&](const std::string& name, const std::vector<std::string>& options) {
    ASSERT_EQ(run(with(with(train_arguments(folder / name), more), options), folder).exit_code, 0);
  };
  train("right", {"--no-shuffle"});
  train("shuffled", {});
  train("compat", {"--seed-compat"});
  const auto order = [&](const std::string& name) {
    std::vector<std::string> ids;
    for (const nlohmann::json& entry : log_of(folder / name)) {
      for (const auto& [id, texts] : entry.at("augmentation").items()) ids.push_back(id);
    }
    return ids;
  };
  // Not shuffled, and validated on augmented scans.
  EXPECT_EQ(order("compat"), order("right"));
  EXPECT_NE(order("compat"), order("shuffled"));
  EXPECT_EQ(losses(folder / "compat"), losses(folder / "right"));
  EXPECT_NE(epochs_column(folder / "compat", "validation_loss"),
            epochs_column(folder / "right", "validation_loss"));
}

TEST(Predict, WritesBratsLabelsOnTheOriginalGridAndEvaluates) {
  const TemporaryFolder folder;
  ASSERT_EQ(run(with(train_arguments(folder / "run"), {"--epochs", "2"}), folder).exit_code, 0);
  const CommandResult predict =
      run({"predict", "--checkpoint", (folder / "run/best.safetensors").string(), "--input",
           phantom().string(), "--split-file", (folder / "run/split.json").string(), "--output",
           (folder / "predictions").string(), "--probabilities", "--device", "cpu"},
          folder);
  ASSERT_EQ(predict.exit_code, 0) << predict.error;
  const auto file = folder / "predictions/BraTS20_Training_005.nii.gz";
  ASSERT_TRUE(std::filesystem::exists(file));
  EXPECT_TRUE(std::filesystem::exists(folder / "predictions/BraTS20_Training_005_class3.nii.gz"));
  const CommandResult info = run({"info", file.string(), "--json"}, folder);
  const CommandResult original =
      run({"info", (phantom() / "BraTS20_Training_005/BraTS20_Training_005_seg.nii.gz").string(), "--json"},
          folder);
  const auto a = nlohmann::json::parse(info.out), b = nlohmann::json::parse(original.out);
  EXPECT_EQ(a.at("extents"), b.at("extents"));
  EXPECT_EQ(a.at("affine"), b.at("affine"));
  const CommandResult evaluate =
      run({"evaluate", "--predictions", (folder / "predictions").string(), "--references", phantom().string(),
           "--split-file", (folder / "run/split.json").string(), "--json", (folder / "scores.json").string()},
          folder);
  ASSERT_EQ(evaluate.exit_code, 0) << evaluate.error;
  EXPECT_NE(evaluate.out.find("WT"), std::string::npos);
  const auto scores = nlohmann::json::parse(read_text(folder / "scores.json"));
  EXPECT_EQ(scores.at("subjects").size(), 1u);
  EXPECT_GE(scores.at("mean").at("WT").get<double>(), 0.0);
}

// 32 x 32 x 21 voxels are no multiples of 16: padded for the network, and cut off again.
TEST(Predict, OddSizesArePaddedAndUndone) {
  const TemporaryFolder folder;
  const std::vector<std::string> odd = {"--preprocess",       "to_canonical rescale(0,1) crop(2,1,0,3,0,0)",
                                        "--network-channels", "4,8,8,8,8",
                                        "--max-steps",        "1"};
  CommandResult result = run(with(train_arguments(folder / "run"), odd), folder);
  ASSERT_EQ(result.exit_code, 0) << result.error;
  result = run({"predict", "--checkpoint", (folder / "run/best.safetensors").string(), "--input",
                phantom().string(), "--split-file", (folder / "run/split.json").string(), "--output",
                (folder / "out").string(), "--device", "cpu"},
               folder);
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const data::LabelMap labels = data::read_label_map(folder / "out/BraTS20_Training_005.nii.gz");
  EXPECT_EQ(labels.geometry.extent,
            data::read_nifti_info(phantom() / "BraTS20_Training_005/BraTS20_Training_005_t1.nii.gz")
                .geometry.extent);
}

struct SmallModel {
  TemporaryFolder folder;
  std::filesystem::path checkpoint = folder / "run/best.safetensors";

  SmallModel() {
    const CommandResult result = run(
        with(train_arguments(folder / "run"), {"--network-channels", "16,32", "--max-steps", "1"}), folder);
    EXPECT_EQ(result.exit_code, 0) << result.error;
  }
  [[nodiscard]] CommandResult predict(const std::string& name, const std::vector<std::string>& more) const {
    return run(with({"predict", "--checkpoint", checkpoint.string(), "--input",
                     (phantom() / "BraTS20_Training_005").string(), "--output", (folder / name).string(),
                     "--probabilities", "--device", "cpu", "--quiet"},
                    more),
               folder);
  }
  // Of the first class.
  [[nodiscard]] std::vector<float> probabilities(const std::string& name) const {
    return data::read_image(folder / name / "BraTS20_Training_005_class0.nii.gz").voxels;
  }
};

TEST(Predict, InTilesOnTheCommandLine) {
  const SmallModel model;
  for (const auto& [name, tile] :
       {std::pair{"whole", "auto"}, {"one", "400,400,400"}, {"tiles", "16,8,16"}}) {
    const CommandResult result = model.predict(name, {"--tile", tile});
    ASSERT_EQ(result.exit_code, 0) << result.error;
  }
  const std::vector<float> whole = model.probabilities("whole"), tiles = model.probabilities("tiles");
  EXPECT_EQ(model.probabilities("one"), whole);
  EXPECT_NE(tiles, whole);
  double difference = 0;
  for (size_t i = 0; i < whole.size(); ++i) difference += std::abs(static_cast<double>(tiles[i] - whole[i]));
  // The instance norms of a tile know that tile alone.
  EXPECT_LT(difference / static_cast<double>(whole.size()), 0.1);
  expect_one_line(model.predict("bad", {"--tile", "16,16"}), 1, {"--tile 16,16", "auto"});
  expect_one_line(model.predict("bad", {"--tile", "16,15,16"}), 1, {"--tile", "15", "multiple of 2"});
}

TEST(Predict, Bfloat16OnTheCpuIsMultipliedOrRefused) {
  const SmallModel model;
  ASSERT_EQ(model.predict("float32", {"--precision", "float32"}).exit_code, 0);
  const CommandResult result = model.predict("bfloat16", {"--precision", "bfloat16"});
  if (kernels::has_fast_bfloat16_products()) {
    ASSERT_EQ(result.exit_code, 0) << result.error;
    const std::vector<float> exact = model.probabilities("float32"),
                             rounded = model.probabilities("bfloat16");
    EXPECT_NE(rounded, exact);
    for (size_t i = 0; i < exact.size(); ++i) ASSERT_NEAR(rounded[i], exact[i], 0.1) << i;
  } else {
    expect_one_line(result, 1, {"--precision bfloat16", "AVX512_BF16", "--precision float32"});
  }
  setenv("VOXGRAD_ISA", "portable", 1);
  const CommandResult refused = model.predict("refused", {"--precision", "bfloat16"});
  unsetenv("VOXGRAD_ISA");
  expect_one_line(refused, 1, {"--precision bfloat16", "VOXGRAD_ISA", "--precision float32"});
}

TEST(Train, ACropLargerThanTheImageNamesTheFile) {
  const TemporaryFolder folder;
  expect_one_line(run(with(train_arguments(folder / "run"), {"--preprocess", "crop(20,20,0,0,0,0)"}), folder),
                  1, {"BraTS20_Training_00", ".nii.gz", "crop", "axis 0"});
}

TEST(Predict, VoxelsThatTheNetworkDidNotSeeAreBackground) {
  const TemporaryFolder folder;
  const std::string steps = "to_canonical rescale(0,1) crop(4,4,4,4,2,3) shape_multiple(8)";
  ASSERT_EQ(
      run(with(train_arguments(folder / "run"), {"--epochs", "1", "--preprocess", steps}), folder).exit_code,
      0);
  const std::string id = "BraTS20_Training_005";
  const CommandResult predict = run({"predict", "--checkpoint", (folder / "run/last.safetensors").string(),
                                     "--input", (phantom() / id).string(), "--output",
                                     (folder / "predictions").string(), "--probabilities", "--device", "cpu"},
                                    folder);
  ASSERT_EQ(predict.exit_code, 0) << predict.error;
  const data::LabelMap labels = data::read_label_map(folder / "predictions" / (id + ".nii.gz"));
  const data::Image background = data::read_image(folder / "predictions" / (id + "_class0.nii.gz"));
  const auto [width, height, depth] = labels.geometry.extent;
  int64_t outside = 0;
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t j = 0; j < height; ++j) {
      for (int64_t i = 0; i < width; ++i) {
        if (i >= 4 && i < width - 4 && j >= 4 && j < height - 4 && k >= 2 && k < depth - 3) continue;
        const auto voxel = static_cast<size_t>(labels.geometry.index(i, j, k));
        ASSERT_EQ(labels.voxels[voxel], 0) << i << ' ' << j << ' ' << k;
        ASSERT_EQ(background.voxels[voxel], 1) << i << ' ' << j << ' ' << k;
        ++outside;
      }
    }
  }
  EXPECT_GT(outside, 0);
}

TEST(Predict, RawTensorsAgreeWithPyTorch) {
  const TemporaryFolder folder;
  const Safetensors golden = load_safetensors(VG_GOLDEN_DIR "/attention_unet.safetensors");
  save_safetensors(folder / "x.safetensors", {{}, {{"input", golden.at("input")}}});
  const CommandResult result =
      run({"predict", "--checkpoint", VG_GOLDEN_DIR "/attention_unet.weights.safetensors", "--input",
           (folder / "x.safetensors").string(), "--output", (folder / "y.safetensors").string(), "--device",
           "cpu"},
          folder);
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const Tensor logits = load_safetensors(folder / "y.safetensors").at("logits"),
               expected = golden.at("logits_eval");
  ASSERT_EQ(logits.shape(), expected.shape());
  const auto a = logits.values(), b = expected.values();
  double worst = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  }
  EXPECT_LE(worst, 1e-4 * largest);
}

}  // namespace
}  // namespace vg::test
