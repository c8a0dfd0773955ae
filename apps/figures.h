// The figures of one prediction, as files.
#pragma once

#include <filesystem>
#include <optional>

#include "apps/figure_subject.h"

namespace vg::apps {

struct FigureOptions {
  SliceAxis axis = SliceAxis::axial;
  std::optional<int64_t>
      slice;       ///< shown in the PNG, and first in the page; nothing: the one with most tumour
  int delay = 80;  ///< milliseconds a frame of the GIF
  bool png = true, gif = true, html = true;
};

/// Writes base.png (image, prediction and truth of one slice), base.gif (all slices) and base.html (the stack
/// in 3D), each whole or not at all. Throws data::DataError as load_figure_subject does,
/// std::invalid_argument for a slice that is not there, std::runtime_error if a file cannot be written.
void write_figures(const FigureFiles& files, const std::filesystem::path& base, const FigureOptions& options,
                   const data::LabelSchema& schema, const data::Warn& warn);

}  // namespace vg::apps
