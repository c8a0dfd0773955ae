#include "apps/picture.h"

#include <cairo-ft.h>
#include <cairo.h>
#include <ft2build.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>
#include <stdexcept>

#include "apps/embedded_files.h"
#include FT_FREETYPE_H

namespace vg::apps {

namespace {

void check(cairo_status_t status, const char* what) {
  if (status != CAIRO_STATUS_SUCCESS)
    throw std::runtime_error(std::string(what) + ": " + cairo_status_to_string(status));
}

// The font opened by FreeType. Cairo keeps faces in a cache of its own, so it owns this and destroys it.
struct FontFile {
  FT_Library library = nullptr;
  FT_Face face = nullptr;

  FontFile() {
    const std::string_view bytes = embedded::font();
    if (FT_Init_FreeType(&library) != 0) throw std::runtime_error("font: FreeType cannot be started");
    if (FT_New_Memory_Face(library, reinterpret_cast<const FT_Byte*>(bytes.data()),
                           static_cast<FT_Long>(bytes.size()), 0, &face) != 0) {
      FT_Done_FreeType(library);
      throw std::runtime_error("font: FreeType cannot read it");
    }
  }
  ~FontFile() {
    FT_Done_Face(face);
    FT_Done_FreeType(library);
  }
  FontFile(const FontFile&) = delete;
  FontFile& operator=(const FontFile&) = delete;
};

void use_font(cairo_t* context) {
  static const cairo_user_data_key_t key{};
  auto file = std::make_unique<FontFile>();
  cairo_font_face_t* face = cairo_ft_font_face_create_for_ft_face(file->face, FT_LOAD_DEFAULT);
  if (cairo_font_face_set_user_data(face, &key, file.get(), [](void* owned) {
        delete static_cast<FontFile*>(owned);
      }) == CAIRO_STATUS_SUCCESS) {
    (void)file.release();
  }
  cairo_set_font_face(context, face);
  cairo_font_face_destroy(face);
  cairo_font_options_t* options = cairo_font_options_create();
  cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
  cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_SLIGHT);
  cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
  cairo_set_font_options(context, options);
  cairo_font_options_destroy(options);
}

// Restores the state of a context at the end of a block.
class Saved {
 public:
  explicit Saved(cairo_t* context) : context_(context) { cairo_save(context); }
  ~Saved() { cairo_restore(context_); }
  Saved(const Saved&) = delete;
  Saved& operator=(const Saved&) = delete;

 private:
  cairo_t* context_;
};

// Words of a 32-bit surface, row by row.
uint32_t* row_of(cairo_surface_t* surface, int64_t y) {
  return reinterpret_cast<uint32_t*>(cairo_image_surface_get_data(surface) +
                                     y * cairo_image_surface_get_stride(surface));
}

cairo_surface_t* new_surface(cairo_format_t format, int64_t width, int64_t height) {
  if (width < 1 || height < 1 || width > 32767 || height > 32767)
    throw std::runtime_error("picture: found " + std::to_string(width) + "x" + std::to_string(height) +
                             " pixels, expected 1 to 32767 a side");
  return cairo_image_surface_create(format, static_cast<int>(width), static_cast<int>(height));
}

}  // namespace

void Picture::Destroy::operator()(_cairo* context) const {
  cairo_destroy(context);
}
void Picture::Destroy::operator()(_cairo_surface* surface) const {
  cairo_surface_destroy(surface);
}

Picture::Picture(int64_t width, int64_t height, Colour background)
    : width_(width),
      height_(height),
      surface_(new_surface(CAIRO_FORMAT_RGB24, width, height)),
      context_(cairo_create(surface_.get())) {
  check(cairo_status(context_.get()), "picture");
  use_font(context_.get());
  check(cairo_status(context_.get()), "font");
  rectangle({0, 0, static_cast<double>(width), static_cast<double>(height)}, background);
}

const uint8_t* Picture::pixel(int64_t x, int64_t y) const {
  return cairo_image_surface_get_data(surface_.get()) + y * cairo_image_surface_get_stride(surface_.get()) +
         4 * x;
}

Colour Picture::at(int64_t x, int64_t y) const {
  if (x < 0 || y < 0 || x >= width_ || y >= height_) throw std::out_of_range("Picture::at");
  cairo_surface_flush(surface_.get());
  const uint32_t word = *reinterpret_cast<const uint32_t*>(pixel(x, y));
  return {static_cast<uint8_t>(word >> 16), static_cast<uint8_t>(word >> 8), static_cast<uint8_t>(word)};
}

std::vector<uint8_t> Picture::rgb() const {
  cairo_surface_flush(surface_.get());
  std::vector<uint8_t> bytes;
  bytes.reserve(static_cast<size_t>(3 * width_ * height_));
  for (int64_t y = 0; y < height_; ++y) {
    const auto* words = reinterpret_cast<const uint32_t*>(pixel(0, y));
    for (int64_t x = 0; x < width_; ++x) {
      for (const int shift : {16, 8, 0}) bytes.push_back(static_cast<uint8_t>(words[x] >> shift));
    }
  }
  return bytes;
}

void Picture::set_colour(Colour colour, double alpha) const {
  cairo_set_source_rgba(context_.get(), colour.red / 255.0, colour.green / 255.0, colour.blue / 255.0, alpha);
}

void Picture::rectangle(const Box& box, Colour colour, double alpha) {
  set_colour(colour, alpha);
  cairo_rectangle(context_.get(), box.x, box.y, box.width, box.height);
  cairo_fill(context_.get());
}

void Picture::frame(const Box& box, const LineStyle& style) {
  set_colour(style.colour);
  cairo_set_line_width(context_.get(), style.width);
  cairo_rectangle(context_.get(), box.x, box.y, box.width, box.height);
  cairo_stroke(context_.get());
}

void Picture::line(std::span<const PicturePoint> points, const LineStyle& style) {
  if (points.empty()) return;
  cairo_t* context = context_.get();
  const Saved saved(context);
  set_colour(style.colour);
  if (points.size() == 1) {
    cairo_arc(context, points[0].x, points[0].y, style.width * 1.5, 0, 2 * std::numbers::pi);
    cairo_fill(context);
    return;
  }
  const double dashes[2] = {4 * style.width, 2.5 * style.width};
  if (style.dashed) cairo_set_dash(context, dashes, 2, 0);
  cairo_set_line_width(context, style.width);
  cairo_set_line_join(context, CAIRO_LINE_JOIN_ROUND);
  for (const PicturePoint& point : points) cairo_line_to(context, point.x, point.y);
  cairo_stroke(context);
}

double Picture::text_width(const std::string& text, double size) const {
  cairo_text_extents_t extents;
  cairo_set_font_size(context_.get(), size);
  cairo_text_extents(context_.get(), text.c_str(), &extents);
  return extents.x_advance;
}

void Picture::text(PicturePoint at, const std::string& text, const TextStyle& style) {
  const double width = text_width(text, style.size);
  const double shift = style.align == Align::left ? 0 : style.align == Align::centre ? width / 2 : width;
  set_colour(style.colour);
  cairo_move_to(context_.get(), at.x - shift, at.y);
  cairo_show_text(context_.get(), text.c_str());
  cairo_new_path(context_.get());
  check(cairo_status(context_.get()), "text");
}

void Picture::text_upwards(PicturePoint at, const std::string& words, const TextStyle& style) {
  const Saved saved(context_.get());
  cairo_translate(context_.get(), at.x, at.y);
  cairo_rotate(context_.get(), -std::numbers::pi / 2);
  text({0, 0}, words, style);
}

void Picture::paint(const Box& box, _cairo_surface* voxels, int64_t width, int64_t height,
                    bool smooth) const {
  cairo_t* context = context_.get();
  const Saved saved(context);
  cairo_rectangle(context, box.x, box.y, box.width, box.height);
  cairo_clip(context);
  cairo_translate(context, box.x, box.y);
  cairo_scale(context, box.width / static_cast<double>(width), box.height / static_cast<double>(height));
  cairo_set_source_surface(context, voxels, 0, 0);
  cairo_pattern_set_filter(cairo_get_source(context), smooth ? CAIRO_FILTER_GOOD : CAIRO_FILTER_NEAREST);
  cairo_pattern_set_extend(cairo_get_source(context), CAIRO_EXTEND_PAD);
  cairo_paint(context);
  check(cairo_status(context), "picture");
}

void Picture::grey(const Box& box, std::span<const uint8_t> voxels, int64_t width, int64_t height) {
  const Surface slice(new_surface(CAIRO_FORMAT_RGB24, width, height));
  check(cairo_surface_status(slice.get()), "picture");
  for (int64_t y = 0; y < height; ++y) {
    uint32_t* words = row_of(slice.get(), y);
    for (int64_t x = 0; x < width; ++x) words[x] = voxels[static_cast<size_t>(x + width * y)] * 0x010101U;
  }
  cairo_surface_mark_dirty(slice.get());
  paint(box, slice.get(), width, height, true);
}

void Picture::overlay(const Box& box, const ClassSlice& slice, std::span<const Colour> colours,
                      double alpha) {
  const Surface fill(new_surface(CAIRO_FORMAT_ARGB32, slice.width, slice.height));
  check(cairo_surface_status(fill.get()), "picture");
  std::set<uint8_t> present;
  for (int64_t y = 0; y < slice.height; ++y) {
    uint32_t* words = row_of(fill.get(), y);
    for (int64_t x = 0; x < slice.width; ++x) {
      const uint8_t c = slice.at(x, y);
      if (c == 0) continue;
      present.insert(c);
      const Colour& colour = colours[c];
      const auto scaled = [&](double value) { return static_cast<uint32_t>(std::lround(value * alpha)); };
      words[x] = scaled(255) << 24 | scaled(colour.red) << 16 | scaled(colour.green) << 8 |
                 scaled(colour.blue);  // cairo's colours are multiplied by alpha
    }
  }
  cairo_surface_mark_dirty(fill.get());
  paint(box, fill.get(), slice.width, slice.height, false);
  const double width = std::clamp(box.width / static_cast<double>(slice.width) * 0.75, 1.0, 2.0);
  for (const uint8_t c : present) {
    set_colour(colours[c]);
    outline(box, slice, c, width);
  }
}

// Strokes the voxel edges between a class and everything else, half a line width inside the class: outlines
// of classes that touch lie side by side.
void Picture::outline(const Box& box, const ClassSlice& slice, uint8_t of_class, double width) const {
  cairo_t* context = context_.get();
  const double across = box.width / static_cast<double>(slice.width),
               down = box.height / static_cast<double>(slice.height);
  const auto bar = [&](double x, double y, double w, double h) { cairo_rectangle(context, x, y, w, h); };
  for (int64_t y = 0; y < slice.height; ++y) {
    for (int64_t x = 0; x < slice.width; ++x) {
      if (slice.at(x, y) != of_class || !slice.is_boundary(x, y)) continue;
      const double left = box.x + static_cast<double>(x) * across,
                   top = box.y + static_cast<double>(y) * down;
      const double w = std::min(width, across), h = std::min(width, down);
      if (slice.at(x - 1, y) != of_class) bar(left, top, w, down);
      if (slice.at(x + 1, y) != of_class) bar(left + across - w, top, w, down);
      if (slice.at(x, y - 1) != of_class) bar(left, top, across, h);
      if (slice.at(x, y + 1) != of_class) bar(left, top + down - h, across, h);
    }
  }
  cairo_set_fill_rule(context, CAIRO_FILL_RULE_WINDING);
  cairo_fill(context);
}

}  // namespace vg::apps
