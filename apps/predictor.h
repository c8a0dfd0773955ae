// From a subject's files to a label map on its original grid.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "apps/model_file.h"
#include "apps/tiles.h"
#include "data/brats_dataset.h"
#include "engine/transfer.h"
#include "nets/network.h"

namespace vg::apps {

/// What the network says of one subject, on the subject's original grid.
struct Prediction {
  data::LabelMap labels;                   ///< values as in the label schema's files (BraTS: 0, 1, 2, 4)
  std::vector<data::Image> probabilities;  ///< one image for each class
};

class Predictor {
 public:
  /// `model.description` must be complete; `precision` is that of activations; on the CPU,
  /// where these stay float32, that of what convolutions multiply. Throws std::runtime_error
  /// naming what is missing or does not fit.
  Predictor(const ModelFile& model, Device device, DType precision);

  /// Volumes are predicted in tiles of these extents; without them in one, or if memory does not suffice for
  /// that in the largest tiles that it does for. Throws std::runtime_error unless they are multiples of what
  /// the network's levels need.
  void set_tile(const std::optional<Extent>& tile);

  /// Loads, preprocesses, runs the network (see predict_in_tiles()), and undoes the preprocessing:
  /// probabilities are mapped back linearly, and each voxel of the original grid gets its likeliest class.
  /// Voxels that the network did not see are background. Throws data::DataError, also if memory does not even
  /// suffice for the smallest tile.
  [[nodiscard]] Prediction predict(const data::SubjectFiles& subject, const data::Warn& warn);

  [[nodiscard]] const ModelDescription& description() const { return description_; }
  [[nodiscard]] const data::LabelSchema& schema() const { return schema_; }

 private:
  /// Of [1, D, H, W, C] on the device.
  [[nodiscard]] Tensor probabilities(const Tensor& images) const;
  [[nodiscard]] Extent tile_for(const data::Sample& sample, const data::Warn& warn) const;

  ModelDescription description_;
  const data::LabelSchema& schema_;
  data::Preprocessing preprocessing_;
  DType precision_;
  Uploader uploader_;
  Rng rng_{0};
  std::unique_ptr<Network> network_;
  std::optional<Extent> tile_;
};

/// Logits (float32, N,C,D,H,W) of the tensor `input` (float32, N,C,D,H,W) in inference mode: for comparison
/// with PyTorch. `weights` need not say more than MONAI's names. Throws std::runtime_error.
Tensor raw_logits(const ModelFile& weights, const Tensor& input, Device device);

}  // namespace vg::apps
