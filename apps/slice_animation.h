// A GIF that scrolls through every slice: prediction and truth on the image, one pixel a voxel.
#pragma once

#include <string>

#include "apps/figure_subject.h"

namespace vg::apps {

/// Height in pixels of the line above the panels that names them.
inline constexpr int64_t kAnimationCaption = 20;

/// The GIF's bytes: a frame for each slice, panels of the slices' own size side by side (prediction, and
/// truth if it is there) under a line of text. Voxels inside a class are tinted, those at its edge have its
/// colour. `delay`: hundredths of a second a frame.
std::string draw_slice_animation(const FigureSubject& subject, int delay);

}  // namespace vg::apps
