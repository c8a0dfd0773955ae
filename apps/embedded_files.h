// Files that the build put into the binary (vg_embed in cmake/voxgrad.cmake).
#pragma once

#include <cstddef>
#include <string_view>

extern "C" {
extern const char vg_font[], vg_font_end[];
extern const char vg_page_html[], vg_page_html_end[];
extern const char vg_page_css[], vg_page_css_end[];
extern const char vg_page_js[], vg_page_js_end[];
extern const char vg_scene_js[], vg_scene_js_end[];
extern const char vg_surface_js[], vg_surface_js_end[];
extern const char vg_three_js[], vg_three_js_end[];
}

namespace vg::apps::embedded {

/// DejaVu Sans, TrueType.
inline std::string_view font() {
  return {vg_font, static_cast<size_t>(vg_font_end - vg_font)};
}

/// The template of slice_page.h and its parts, apps/render_page.
inline std::string_view page_html() {
  return {vg_page_html, static_cast<size_t>(vg_page_html_end - vg_page_html)};
}
inline std::string_view page_css() {
  return {vg_page_css, static_cast<size_t>(vg_page_css_end - vg_page_css)};
}
inline std::string_view page_js() {
  return {vg_page_js, static_cast<size_t>(vg_page_js_end - vg_page_js)};
}
inline std::string_view scene_js() {
  return {vg_scene_js, static_cast<size_t>(vg_scene_js_end - vg_scene_js)};
}
inline std::string_view surface_js() {
  return {vg_surface_js, static_cast<size_t>(vg_surface_js_end - vg_surface_js)};
}
/// three.js, minified.
inline std::string_view three_js() {
  return {vg_three_js, static_cast<size_t>(vg_three_js_end - vg_three_js)};
}

}  // namespace vg::apps::embedded
