#include "apps/png_file.h"

#include <png.h>

#include <stdexcept>

#include "engine/atomic_file.h"

namespace vg::apps {

std::string encode_png(std::span<const uint8_t> rgb, int64_t width, int64_t height) {
  if (static_cast<int64_t>(rgb.size()) != 3 * width * height)
    throw std::runtime_error("PNG: found " + std::to_string(rgb.size()) + " bytes of pixels, expected " +
                             std::to_string(3 * width * height));
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string encoded(bytes, '\0');
  if (png_image_write_to_memory(&image, encoded.data(), &bytes, 0, rgb.data(), 0, nullptr) == 0)
    throw std::runtime_error(std::string("PNG: ") + image.message);
  encoded.resize(bytes);
  return encoded;
}

void write_png(const std::filesystem::path& file, const Picture& picture) {
  write_file_atomically(file, encode_png(picture.rgb(), picture.width(), picture.height()));
}

}  // namespace vg::apps
