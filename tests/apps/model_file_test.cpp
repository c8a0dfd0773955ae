#include "apps/model_file.h"

#include <gtest/gtest.h>

#include "engine/safetensors.h"
#include "nets/network.h"
#include "support/temporary_folder.h"

namespace vg::apps {
namespace {

ModelFile example() {
  Architecture architecture;
  architecture.channels = {4, 8};
  architecture.strides = {2};
  Rng rng(3);
  const auto network = make_network(architecture, Device::cpu, rng);
  ModelFile model{{architecture, {"t1", "t2", "t1ce", "flair"}, "brats-2018-2020", "shape_multiple(16)"},
                  network->state(),
                  {},
                  {}};
  model.training = TrainingState{.step = 7,
                                 .epoch = 2,
                                 .batch = 1,
                                 .epoch_loss_sum = 0.25,
                                 .best_score = 0.5,
                                 .random_draws = 9,
                                 .schedule = {0.1, 2}};
  model.optimizer = {{"step", Tensor::from_values<int64_t>({1}, {7})}};
  return model;
}

TEST(ModelFile, RoundTripKeepsDescriptionWeightsAndTrainingState) {
  const test::TemporaryFolder folder;
  const ModelFile written = example();
  save_model_file(folder / "m.safetensors", written);
  const ModelFile read = load_model_file(folder / "m.safetensors");
  EXPECT_EQ(read.description.architecture, written.description.architecture);
  EXPECT_EQ(read.description.channels, written.description.channels);
  EXPECT_EQ(read.description.preprocessing, "shape_multiple(16)");
  ASSERT_EQ(read.weights.size(), written.weights.size());
  for (size_t i = 0; i < read.weights.size(); ++i) EXPECT_EQ(read.weights[i].first, written.weights[i].first);
  ASSERT_TRUE(read.training);
  EXPECT_EQ(read.training->step, 7);
  EXPECT_EQ(read.training->epoch_loss_sum, 0.25);
  EXPECT_EQ(read.training->schedule, (std::vector<double>{0.1, 2}));
  ASSERT_EQ(read.optimizer.size(), 1u);
  EXPECT_EQ(read.optimizer[0].first, "step");
}

TEST(ModelFile, WithoutTrainingStateItHoldsTheStateDictAlone) {
  const test::TemporaryFolder folder;
  ModelFile model = example();
  model.training.reset();
  save_model_file(folder / "m.safetensors", model);
  EXPECT_EQ(load_safetensors(folder / "m.safetensors").tensors.size(), model.weights.size());
  EXPECT_FALSE(load_model_file(folder / "m.safetensors").training);
}

TEST(ModelFile, MonaiFilesNeedNothingElse) {
  const ModelFile model = load_model_file(VG_GOLDEN_DIR "/attention_unet.weights.safetensors");
  EXPECT_EQ(model.description.architecture.channels, (std::vector<int64_t>{4, 8, 16}));
  EXPECT_TRUE(model.description.channels.empty());
}

TEST(ModelFile, NewerVersionsAndOtherNetworksAreRefused) {
  const test::TemporaryFolder folder;
  Safetensors newer;
  newer.metadata["voxgrad.format"] = "99";
  save_safetensors(folder / "newer.safetensors", newer);
  try {
    load_model_file(folder / "newer.safetensors");
    FAIL();
  } catch (const SafetensorsError& error) {
    EXPECT_NE(std::string(error.what()).find("newer voxgrad"), std::string::npos) << error.what();
  }
  save_safetensors(folder / "other.safetensors", {{}, {{"fc.weight", Tensor::zeros({2, 2})}}});
  EXPECT_THROW(load_model_file(folder / "other.safetensors"), SafetensorsError);
}

}  // namespace
}  // namespace vg::apps
