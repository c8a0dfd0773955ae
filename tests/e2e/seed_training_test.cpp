// The seed's training against PyTorch, through files and the command line.
#include <cmath>
#include <fstream>

#include "data/network_order.h"
#include "data/nifti_io.h"
#include "e2e/command.h"
#include "support/devices.h"
#include "support/golden.h"

namespace vg::test {
namespace {

const std::vector<std::string> subjects = {"BraTS20_Training_001", "BraTS20_Training_002",
                                           "BraTS20_Training_003"};

// Writes one sample of the golden batch as a BraTS subject: classes 0, 1, 2, 3 are the labels 0, 1, 2, 4.
void write_subject(const std::filesystem::path& folder, const std::string& id, const Safetensors& golden,
                   int64_t sample) {
  const Tensor& input = golden.at("input");
  const auto [channels, d, h, w] = std::array{input.size(1), input.size(2), input.size(3), input.size(4)};
  const int64_t voxels = d * h * w;
  data::Geometry geometry;
  geometry.extent = {d, h, w};
  std::filesystem::create_directories(folder / id);
  const std::vector<float> values = input.values();
  const char* const modalities[] = {"t1", "t2", "t1ce", "flair"};
  for (int64_t c = 0; c < channels; ++c) {
    const std::span channel(values.data() + (sample * channels + c) * voxels, static_cast<size_t>(voxels));
    data::write_image(folder / id / (id + "_" + modalities[c] + ".nii.gz"),
                      data::unpack_channel(channel, geometry, 1, 0));
  }
  std::vector<uint8_t> labels = golden.at("labels").values<uint8_t>();
  labels = {labels.begin() + sample * voxels, labels.begin() + (sample + 1) * voxels};
  for (uint8_t& label : labels) label = label == 3 ? 4 : label;
  data::write_label_map(folder / id / (id + "_seg.nii.gz"), data::unpack_labels(labels, geometry));
}

using SeedTraining = DeviceTest;
VG_ON_EVERY_DEVICE(SeedTraining);

void expect_losses_of_pytorch(Device device, const std::string& precision, double tolerance) {
  // An emulated GPU is slow: three steps show forward, backward and optimizer at work.
  const size_t steps = device == Device::cpu ? 12 : 3;
  const TemporaryFolder folder;
  const Safetensors golden = load_golden("training");
  for (size_t i = 0; i < subjects.size(); ++i)
    write_subject(folder / "data", subjects[i], golden, static_cast<int64_t>(i % 2));
  std::ofstream(folder / "split.json")
      << nlohmann::json{{"train", {subjects[0], subjects[1]}}, {"validation", {subjects[2]}}}.dump();
  const CommandResult result = run({"train",
                                    "--preset",
                                    "seed",
                                    "--data",
                                    (folder / "data").string(),
                                    "--output",
                                    (folder / "run").string(),
                                    "--init",
                                    VG_GOLDEN_DIR "/training.weights.safetensors",
                                    "--split-file",
                                    (folder / "split.json").string(),
                                    "--preprocess",
                                    "none",
                                    "--no-augment",
                                    "--no-shuffle",
                                    "--batch-size",
                                    "2",
                                    "--max-steps",
                                    std::to_string(steps),
                                    "--device",
                                    device_name(device),
                                    "--precision",
                                    precision,
                                    "--quiet"},
                                   folder);
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const std::vector<float> expected = golden.at("losses").values(), rates = golden.at("rates").values();
  std::ifstream log(folder / "run/log.jsonl");
  size_t step = 0;
  for (std::string line; std::getline(log, line); ++step) {
    const auto entry = nlohmann::json::parse(line);
    ASSERT_LT(step, expected.size());
    EXPECT_NEAR(entry.at("loss").get<double>(), expected[step], tolerance) << "step " << step + 1;
    EXPECT_NEAR(entry.at("lr").get<double>(), rates[step], 1e-8) << "step " << step + 1;
  }
  EXPECT_EQ(step, steps);
}

TEST_P(SeedTraining, LossesAgreeWithPyTorch) {
  expect_losses_of_pytorch(device(), "float32", 1e-3);
  if (device() == Device::cuda) expect_losses_of_pytorch(device(), "bfloat16", 0.01);
}

}  // namespace
}  // namespace vg::test
