// Reads PNG and GIF files back, with the libraries' own decoders.
#pragma once

#include <gif_lib.h>
#include <png.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace vg::test {

using Rgb = std::array<int, 3>;

struct DecodedPng {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;

  [[nodiscard]] Rgb at(int64_t x, int64_t y) const {
    const auto first = static_cast<size_t>(3 * (x + width * y));
    return {rgb.at(first), rgb.at(first + 1), rgb.at(first + 2)};
  }
};

inline DecodedPng decode_png(const std::string& bytes) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()) == 0)
    throw std::runtime_error(image.message);
  image.format = PNG_FORMAT_RGB;
  DecodedPng decoded{image.width, image.height, std::vector<uint8_t>(PNG_IMAGE_SIZE(image))};
  if (png_image_finish_read(&image, nullptr, decoded.rgb.data(), 0, nullptr) == 0)
    throw std::runtime_error(image.message);
  return decoded;
}

struct DecodedGif {
  int64_t width = 0, height = 0;
  size_t palette_size = 0;
  bool loops_forever = false;
  std::vector<int> delays;                    ///< hundredths of a second
  std::vector<std::vector<uint8_t>> indices;  ///< by frame
  std::vector<Rgb> palette;

  [[nodiscard]] Rgb at(size_t frame, int64_t x, int64_t y) const {
    return palette.at(indices.at(frame).at(static_cast<size_t>(x + width * y)));
  }
};

inline DecodedGif decode_gif(const std::string& bytes) {
  struct Input {
    const std::string& bytes;
    size_t position;
  } input{bytes, 0};
  struct Close {
    void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
  };
  int error = 0;
  const std::unique_ptr<GifFileType, Close> gif(DGifOpen(
      &input,
      [](GifFileType* file, GifByteType* out, int count) {
        auto& in = *static_cast<Input*>(file->UserData);
        const size_t n = std::min(static_cast<size_t>(count), in.bytes.size() - in.position);
        std::memcpy(out, in.bytes.data() + in.position, n);
        in.position += n;
        return static_cast<int>(n);
      },
      &error));
  if (gif == nullptr || DGifSlurp(gif.get()) == GIF_ERROR) throw std::runtime_error("not a GIF");
  DecodedGif decoded;
  decoded.width = gif->SWidth;
  decoded.height = gif->SHeight;
  decoded.palette_size = static_cast<size_t>(gif->SColorMap->ColorCount);
  for (size_t i = 0; i < decoded.palette_size; ++i) {
    const GifColorType& colour = gif->SColorMap->Colors[i];
    decoded.palette.push_back({colour.Red, colour.Green, colour.Blue});
  }
  for (int frame = 0; frame < gif->ImageCount; ++frame) {
    const SavedImage& image = gif->SavedImages[frame];
    decoded.indices.emplace_back(
        image.RasterBits,
        image.RasterBits + static_cast<int64_t>(image.ImageDesc.Width) * image.ImageDesc.Height);
    GraphicsControlBlock control{};
    DGifSavedExtensionToGCB(gif.get(), frame, &control);
    decoded.delays.push_back(control.DelayTime);
    for (int i = 0; i + 1 < image.ExtensionBlockCount; ++i) {
      const ExtensionBlock &name = image.ExtensionBlocks[i], &value = image.ExtensionBlocks[i + 1];
      if (name.Function == APPLICATION_EXT_FUNC_CODE && name.ByteCount == 11 &&
          std::memcmp(name.Bytes, "NETSCAPE2.0", 11) == 0)
        decoded.loops_forever = value.ByteCount == 3 && value.Bytes[1] == 0 && value.Bytes[2] == 0;
    }
  }
  return decoded;
}

}  // namespace vg::test
