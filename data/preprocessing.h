// A list of preprocessing steps: applied to images and label maps alike, written as text into checkpoints,
// and undone for predictions.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "data/transforms.h"

namespace vg::data {

// One struct per step; text form in the comment.
struct ToCanonicalStep {};  ///< to_canonical
struct RescaleStep {
  RescaleParams params;
};  ///< rescale(0,1), rescale(0,1,0.5,99.5), rescale(..., nonzero)
struct ZNormalizeStep {
  bool nonzero_only = false;
};  ///< z_normalize, z_normalize(nonzero)
struct CropStep {
  Bounds bounds{};
};  ///< crop(45,45,17,35,13,24)
struct PadStep {
  Bounds bounds{};
};  ///< pad(1,2,3,4,5,6)
struct ResampleStep {
  std::array<double, 3> spacing{};
};  ///< resample(1.5), resample(1,1,2)
struct ShapeMultipleStep {
  std::array<int64_t, 3> multiple{};
};  ///< shape_multiple(16)

using Step = std::variant<ToCanonicalStep, RescaleStep, ZNormalizeStep, CropStep, PadStep, ResampleStep,
                          ShapeMultipleStep>;

class Preprocessing {
 public:
  Preprocessing() = default;
  explicit Preprocessing(std::vector<Step> steps) : steps_(std::move(steps)) {}

  /// A preset ("seed", "brats", "none") or steps in the text form above, separated by spaces. Throws
  /// std::invalid_argument naming the step, what was found and what it takes.
  static Preprocessing parse(std::string_view text);
  /// The steps as text; parse(text()) gives the same steps. "none" for an empty list.
  std::string text() const;
  const std::vector<Step>& steps() const { return steps_; }
  /// These steps, and shape_multiple(multiple) behind them unless they end with it or a multiple of it: the
  /// result fits a network that halves its extents, whatever the size of the image.
  [[nodiscard]] Preprocessing padded_to_multiple(int64_t multiple) const;

  /// All steps in order; intensity steps leave label maps alone. Throws DataError as the steps do.
  Image apply(const Image& image, const Warn& warn = {}) const;
  LabelMap apply(const LabelMap& labels) const;
  /// The grid that apply() returns for an input on `original`.
  Geometry output_geometry(const Geometry& original) const;

  /// Maps a network output (on output_geometry(original)) back onto the original grid: the steps undone in
  /// reverse. Padding is cut off, resampling is undone by resampling (label maps nearest, probability maps
  /// linear), and what was cropped away, of which the network saw nothing, gets `outside` (for probabilities
  /// of the background use 1). Throws std::invalid_argument if the extents do not fit.
  LabelMap invert(const LabelMap& labels, const Geometry& original, uint8_t outside = 0) const;
  Image invert(const Image& probability, const Geometry& original, float outside = 0) const;

 private:
  std::vector<Step> steps_;
};

/// The names of steps and presets that Preprocessing::parse knows.
std::vector<std::string> preprocessing_names();

/// "seed": to_canonical rescale(0,1) crop(45,45,17,35,13,24) resample(1.5) shape_multiple(16), which takes
/// BraTS' 240x240x155 to 112x128x80. "brats": the same with z_normalize(nonzero) for rescale(0,1), with which
/// training is less at the mercy of single bright voxels. "none": no steps. Throws std::invalid_argument
/// listing the known names.
Preprocessing preprocessing_preset(std::string_view name);

}  // namespace vg::data
