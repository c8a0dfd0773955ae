// One subject made ready for figures: image, prediction and truth as stacks of slices in display order.
//
// Convention: radiological. The picture's left is the patient's right in axial and coronal slices, and the
// patient's front in sagittal ones; up is the front in axial slices and the head in the others. Slices are
// counted from 0, from the bottom (axial), the back (coronal) or the patient's left (sagittal).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/picture.h"
#include "apps/segmentation_scores.h"
#include "data/error.h"
#include "data/label_schema.h"
#include "data/volume.h"

namespace vg::apps {

enum class SliceAxis : uint8_t { sagittal, coronal, axial };

/// Throws std::invalid_argument for another name.
SliceAxis parse_slice_axis(const std::string& name);
std::string to_string(SliceAxis axis);

/// How slices of an axis lie in the canonical (RAS+) volume.
struct SliceOrder {
  int across, down,
      along;  ///< canonical axis of the picture's x, its y, and the stack; x and y run against it
  char right, below, next;  ///< where x, y and the slice number grow to: one of LRAPSI
  char left, above;         ///< and the other ends of x and y
};
const SliceOrder& slice_order(SliceAxis axis);

/// Bytes of a volume, slice after slice, each row by row from the top left.
struct SliceStack {
  int64_t width = 0, height = 0, slices = 0;
  std::vector<uint8_t> voxels;

  [[nodiscard]] std::span<const uint8_t> slice(int64_t index) const {
    return std::span(voxels).subspan(static_cast<size_t>(width * height * index),
                                     static_cast<size_t>(width * height));
  }
  /// The slice as classes.
  [[nodiscard]] ClassSlice classes(int64_t index) const { return {slice(index), width, height}; }
};

/// Reorders a canonical volume for an axis.
SliceStack stack_slices(const data::LabelMap& canonical, SliceAxis axis);

/// Files of one figure.
struct FigureFiles {
  std::string id;
  std::filesystem::path prediction;
  std::optional<std::filesystem::path> truth, image;
};

struct FigureSubject {
  std::string id;
  SliceAxis axis = SliceAxis::axial;
  const data::LabelSchema* schema = nullptr;
  std::array<double, 3> spacing{1, 1, 1};  ///< mm: across, down, along
  SliceStack prediction;                   ///< class indices
  std::optional<SliceStack> truth;         ///< class indices
  std::optional<SliceStack> image;         ///< grey; 0 only where the image is at or below its dark end
  std::string image_name;                  ///< the file's name without its ending
  std::vector<Overlap> scores;             ///< classes, then regions, over the volume; empty without truth

  /// The first slice with most voxels of tumour in the truth; in the prediction where there is no truth or no
  /// tumour in it; the middle one if there is no tumour at all.
  [[nodiscard]] int64_t slice_with_most_tumour() const;
};

/// Reads the files and checks them against each other. The image's grey values run from its 0.5th percentile
/// (black) to its 99.8th (white). Throws data::DataError if a file cannot be read, holds labels outside the
/// schema, or lies on another grid than the prediction.
FigureSubject load_figure_subject(const FigureFiles& files, SliceAxis axis, const data::LabelSchema& schema,
                                  const data::Warn& warn);

/// Throws std::invalid_argument if there is no such slice.
void check_slice(const FigureSubject& subject, int64_t slice);

/// Colours by class index: Okabe and Ito's colours, which stay apart for the colour-blind. [0] is black.
std::span<const Colour> class_colours();

/// How strongly fills cover the image.
inline constexpr double kOverlayAlpha = 0.45;

}  // namespace vg::apps
