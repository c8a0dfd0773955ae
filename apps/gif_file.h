// Animated GIFs, by giflib.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "apps/picture.h"

struct GifFileType;

namespace vg::apps {

/// Frames of one size and one palette, shown in an endless loop.
class GifWriter {
 public:
  /// `palette`: 2, 4, ... or 256 colours. `delay`: hundredths of a second a frame. Throws std::runtime_error.
  GifWriter(int64_t width, int64_t height, std::span<const Colour> palette, int delay);
  ~GifWriter();
  GifWriter(const GifWriter&) = delete;
  GifWriter& operator=(const GifWriter&) = delete;

  /// width x height indices into the palette, row by row from the top. Throws std::runtime_error.
  void add_frame(std::span<const uint8_t> indices);
  /// Ends the file and returns its bytes; nothing can be added after that. Throws std::runtime_error.
  std::string finish();

 private:
  void check(int result, int error) const;

  int64_t width_, height_;
  int delay_;
  std::string bytes_;
  GifFileType* gif_ = nullptr;  // giflib's close can fail: finish() closes, else the destructor
};

}  // namespace vg::apps
