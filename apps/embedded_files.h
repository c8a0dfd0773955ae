// Files that the build put into the binary (vg_embed in cmake/voxgrad.cmake).
#pragma once

#include <cstddef>
#include <string_view>

extern "C" {
extern const char vg_font[], vg_font_end[];
}

namespace vg::apps::embedded {

/// DejaVu Sans, TrueType.
inline std::string_view font() {
  return {vg_font, static_cast<size_t>(vg_font_end - vg_font)};
}

}  // namespace vg::apps::embedded
