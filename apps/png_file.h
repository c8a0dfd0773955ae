// PNG files, by libpng.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "apps/picture.h"

namespace vg::apps {

/// The bytes of a PNG of 8-bit RGB pixels. Throws std::runtime_error.
std::string encode_png(std::span<const uint8_t> rgb, int64_t width, int64_t height);

/// Writes the picture, whole or not at all. Throws std::runtime_error.
void write_png(const std::filesystem::path& file, const Picture& picture);

}  // namespace vg::apps
