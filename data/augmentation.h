// Augmentation: random transforms of a subject, as text, as drawn parameters, and applied.
//
// A random transform is two things: a function that draws named parameters, and a deterministic transform
// that takes them. What was drawn is text again, so that any training sample can be made a second time.
// Names, arguments, defaults and distributions are those of TorchIO 0.20.4.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/transform_kinds.h"

namespace vg::data {

/// A deterministic transform of a subject's images (one, or all), and of its labels if it moves voxels.
struct AppliedTransform {
  const TransformKind* kind;
  Parameters parameters;
  std::optional<int64_t> image;  ///< nothing: all images alike

  /// name(parameters), as `voxgrad transform --apply` takes it.
  [[nodiscard]] std::string text() const;
};

/// A tree of transforms: what to do with each sample.
class Augmentation {
 public:
  /// Nothing.
  Augmentation() = default;

  /// Transforms in a row, or presets (see augmentation_preset): random_ghosting(intensity=0.5),
  /// ghosting(num_ghosts=6,axis=1,intensity=0.5), one_of(a,b,weights=(3,1)), compose(a,b). Each takes
  /// p=..., the probability that it is applied (TorchIO: skipped if a uniform number is above p). Throws
  /// std::invalid_argument naming what was found, where, and what is expected.
  static Augmentation parse(std::string_view text);
  static Augmentation parse(const Call& call);

  /// Text that parse() reads as the same; "none" if empty.
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] bool empty() const { return nodes_.empty(); }

  /// What to do with one sample of `images` images, in order. Intensity transforms draw for each image,
  /// spatial ones once.
  [[nodiscard]] std::vector<AppliedTransform> draw(int64_t images, Draws& draws) const;

 private:
  struct Node {
    const TransformKind* kind = nullptr;  ///< nothing: one_of or compose
    bool random = false, one_of = false;
    Parameters parameters;
    double probability = 1;
    std::vector<double> weights;  ///< of one_of
    std::vector<Node> children;
  };
  static Node parse_node(const Call& call);
  static void draw_node(const Node& node, int64_t images, Draws& draws, std::vector<AppliedTransform>& out);

  std::string text_ = "none";
  std::vector<Node> nodes_;
};

/// Names that Augmentation::parse knows: random and deterministic transforms, one_of, compose.
std::vector<std::string> augmentation_names();

/// "seed": what the seed did, one_of(ghosting, spike, bias field, motion, elastic) with p 0.7; "seed_compat":
/// the same with its mistakes (motion about the world's origin, elastic deformation with one axis of the
/// border not locked); "standard": mirroring left and right, and each of the others now and then, about as
/// often as nnU-Net has them; "none". Nothing for another name.
std::optional<std::string_view> augmentation_preset(std::string_view name);

/// The volumes of one subject: images [C, D, H, W, 1], labels [1, D, H, W, 1] or without data.
template <class T, class Label>
struct SubjectViews {
  kernels::View<T> images;
  kernels::View<Label> labels;
};

/// y = the transforms applied to x in order; overwrites y, which does not overlap x. `geometry` is that of
/// the volumes (D, H, W are its i, j, k). Throws std::invalid_argument for parameters that make no sense.
void apply_transforms(std::span<const AppliedTransform> transforms, const SubjectViews<float, uint8_t>& y,
                      const SubjectViews<const float, const uint8_t>& x, const Geometry& geometry,
                      const kernels::Exec& exec);

/// The same for one image or label map of files, on the CPU; transforms of single images apply to it.
Image apply_transforms(std::span<const AppliedTransform> transforms, const Image& image);
LabelMap apply_transforms(std::span<const AppliedTransform> transforms, const LabelMap& labels);

/// For each image (then, last, for the labels) the transforms that apply to it, as text; empty: none.
std::vector<std::string> transforms_as_text(std::span<const AppliedTransform> transforms, int64_t images);

}  // namespace vg::data
