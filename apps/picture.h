// An RGB picture and the drawing that figures need, on cairo and FreeType. The font is in the binary: the
// same input gives the same pixels on every machine with the same versions of the two.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

struct _cairo;
struct _cairo_surface;

namespace vg::apps {

struct Colour {
  uint8_t red = 0, green = 0, blue = 0;
  bool operator==(const Colour&) const = default;
};

inline constexpr Colour kBlack{0, 0, 0}, kWhite{255, 255, 255};

/// Pixels, origin at the top left.
struct Box {
  double x = 0, y = 0, width = 0, height = 0;
};

struct PicturePoint {
  double x = 0, y = 0;
};

enum class Align : uint8_t { left, centre, right };

struct TextStyle {
  double size = 13;  ///< pixels
  Colour colour = kBlack;
  Align align = Align::left;
};

struct LineStyle {
  Colour colour = kBlack;
  double width = 1;  ///< pixels
  bool dashed = false;
};

/// A slice of class indices, row by row from the top.
struct ClassSlice {
  std::span<const uint8_t> classes;
  int64_t width = 0, height = 0;

  /// The class at (x, y); 0 outside.
  [[nodiscard]] uint8_t at(int64_t x, int64_t y) const {
    return x < 0 || y < 0 || x >= width || y >= height ? uint8_t{0}
                                                       : classes[static_cast<size_t>(x + width * y)];
  }
  /// True if (x, y) has a class and one of its four neighbours has another.
  [[nodiscard]] bool is_boundary(int64_t x, int64_t y) const {
    const uint8_t c = at(x, y);
    return c != 0 && (at(x - 1, y) != c || at(x + 1, y) != c || at(x, y - 1) != c || at(x, y + 1) != c);
  }
};

class Picture {
 public:
  /// Throws std::runtime_error if the size is not in 1..32767.
  Picture(int64_t width, int64_t height, Colour background);

  [[nodiscard]] int64_t width() const { return width_; }
  [[nodiscard]] int64_t height() const { return height_; }
  /// width x height x 3 bytes, row by row from the top.
  [[nodiscard]] std::vector<uint8_t> rgb() const;
  [[nodiscard]] Colour at(int64_t x, int64_t y) const;

  void rectangle(const Box& box, Colour colour, double alpha = 1);
  void frame(const Box& box, const LineStyle& style);
  /// Open polygon through the points; a single point becomes a dot.
  void line(std::span<const PicturePoint> points, const LineStyle& style);
  /// UTF-8; `at` is the left end, centre or right end of the baseline.
  void text(PicturePoint at, const std::string& text, const TextStyle& style);
  /// Like text, running upwards.
  void text_upwards(PicturePoint at, const std::string& text, const TextStyle& style);
  [[nodiscard]] double text_width(const std::string& text, double size) const;

  /// A grey slice of width x height bytes stretched over the box, smoothly.
  void grey(const Box& box, std::span<const uint8_t> voxels, int64_t width, int64_t height);
  /// Voxels of each class filled with its colour at `alpha` and outlined; class c has colours[c], 0 nothing.
  void overlay(const Box& box, const ClassSlice& slice, std::span<const Colour> colours, double alpha);

 private:
  struct Destroy {
    void operator()(_cairo* context) const;
    void operator()(_cairo_surface* surface) const;
  };
  using Surface = std::unique_ptr<_cairo_surface, Destroy>;

  [[nodiscard]] const uint8_t* pixel(int64_t x, int64_t y) const;
  void set_colour(Colour colour, double alpha = 1) const;
  void paint(const Box& box, _cairo_surface* voxels, int64_t width, int64_t height, bool smooth) const;
  void outline(const Box& box, const ClassSlice& slice, uint8_t of_class, double width) const;

  int64_t width_, height_;
  Surface surface_;
  std::unique_ptr<_cairo, Destroy> context_;
};

}  // namespace vg::apps
