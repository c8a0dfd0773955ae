// A self-contained interactive page: the slices stacked in 3D, the current one beside it, and a slider.
#pragma once

#include <string>

#include "apps/figure_subject.h"

namespace vg::apps {

/// The page's HTML, with scripts, styles and voxels inside; it loads nothing. `slice` is shown first. The
/// sources are in apps/render_page; three.js comes from Debian's libjs-three at build time. Throws
/// std::invalid_argument if there is no such slice.
std::string draw_slice_page(const FigureSubject& subject, int64_t slice);

}  // namespace vg::apps
