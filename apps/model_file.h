// Model files: weights under MONAI's names with everything needed to use them, and for a training run to go
// on, its whole state.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/tensor.h"
#include "nets/architecture.h"

namespace vg::apps {

/// How weights are to be used. Stored in the file's metadata.
struct ModelDescription {
  Architecture architecture;
  std::vector<std::string> channels;  ///< modality of each input channel; empty if the file does not say
  std::string label_schema;           ///< name of the label schema; empty if the file does not say
  std::string preprocessing;          ///< steps as text; empty if the file does not say
};

/// Where a training run stands. Everything else follows from the options and the seed.
struct TrainingState {
  int64_t step = 0;           ///< optimizer steps done
  int64_t epoch = 0;          ///< of the next batch
  int64_t batch = 0;          ///< next batch within the epoch
  double epoch_loss_sum = 0;  ///< over the batches done of this epoch
  double best_score = -1;
  uint64_t random_draws = 0;
  std::vector<double> schedule;
};

struct ModelFile {
  ModelDescription description;
  std::vector<NamedTensor> weights;
  std::optional<TrainingState> training;
  std::vector<NamedTensor> optimizer;  ///< empty without `training`
};

/// Reads a file of ours or any safetensors file with MONAI's names (then the architecture is read off the
/// shapes and the rest of the description is empty). Throws SafetensorsError (damaged, other format, newer
/// version) or std::runtime_error naming the tensor that does not fit.
ModelFile load_model_file(const std::filesystem::path& file);

/// Writes atomically. Without `training` the file holds MONAI's state dict and nothing else, beside the
/// metadata.
void save_model_file(const std::filesystem::path& file, const ModelFile& content);

}  // namespace vg::apps
