#include "apps/gif_file.h"

#include <gif_lib.h>

#include <array>
#include <new>
#include <stdexcept>
#include <vector>

namespace vg::apps {

namespace {

// giflib hands out what it writes here. No exception may pass through it.
int append(GifFileType* gif, const GifByteType* data, int count) {
  try {
    static_cast<std::string*>(gif->UserData)
        ->append(reinterpret_cast<const char*>(data), static_cast<size_t>(count));
    return count;
  } catch (const std::bad_alloc&) {
    return 0;
  }
}

std::string reason(int error) {
  const char* text = GifErrorString(error);
  return std::string("GIF: ") + (text == nullptr ? "unknown error" : text);
}

struct FreeMap {
  void operator()(ColorMapObject* map) const { GifFreeMapObject(map); }
};

// Netscape's extension, which every viewer reads: repeat for ever.
int write_loop(GifFileType* gif) {
  static constexpr std::array<GifByteType, 3> forever{1, 0, 0};
  if (EGifPutExtensionLeader(gif, APPLICATION_EXT_FUNC_CODE) == GIF_ERROR ||
      EGifPutExtensionBlock(gif, 11, "NETSCAPE2.0") == GIF_ERROR ||
      EGifPutExtensionBlock(gif, static_cast<int>(forever.size()), forever.data()) == GIF_ERROR)
    return GIF_ERROR;
  return EGifPutExtensionTrailer(gif);
}

}  // namespace

GifWriter::GifWriter(int64_t width, int64_t height, std::span<const Colour> palette, int delay)
    : width_(width), height_(height), delay_(delay) {
  if (width < 1 || height < 1 || width > 65535 || height > 65535)
    throw std::runtime_error("GIF: found " + std::to_string(width) + "x" + std::to_string(height) +
                             " pixels, expected 1 to 65535 a side");
  std::vector<GifColorType> colours;
  for (const Colour& colour : palette) colours.push_back({colour.red, colour.green, colour.blue});
  const std::unique_ptr<ColorMapObject, FreeMap> map(
      GifMakeMapObject(static_cast<int>(colours.size()), colours.data()));
  if (map == nullptr)
    throw std::runtime_error("GIF: found a palette of " + std::to_string(palette.size()) +
                             " colours, expected a power of two up to 256");
  int error = 0;
  gif_ = EGifOpen(&bytes_, append, &error);
  if (gif_ == nullptr) throw std::runtime_error(reason(error));
  EGifSetGifVersion(gif_, true);
  try {
    check(EGifPutScreenDesc(gif_, static_cast<int>(width), static_cast<int>(height), map->BitsPerPixel, 0,
                            map.get()),
          gif_->Error);
    check(write_loop(gif_), gif_->Error);
  } catch (...) {
    EGifCloseFile(gif_, nullptr);
    throw;
  }
}

GifWriter::~GifWriter() {
  if (gif_ != nullptr) EGifCloseFile(gif_, nullptr);
}

void GifWriter::check(int result, int error) const {
  if (result == GIF_ERROR) throw std::runtime_error(reason(error));
}

void GifWriter::add_frame(std::span<const uint8_t> indices) {
  if (static_cast<int64_t>(indices.size()) != width_ * height_)
    throw std::runtime_error("GIF: found a frame of " + std::to_string(indices.size()) +
                             " pixels, expected " + std::to_string(width_ * height_));
  const GraphicsControlBlock control{DISPOSE_DO_NOT, false, delay_, NO_TRANSPARENT_COLOR};
  std::array<GifByteType, 4> extension{};
  EGifGCBToExtension(&control, extension.data());
  check(EGifPutExtension(gif_, GRAPHICS_EXT_FUNC_CODE, static_cast<int>(extension.size()), extension.data()),
        gif_->Error);
  check(EGifPutImageDesc(gif_, 0, 0, static_cast<int>(width_), static_cast<int>(height_), false, nullptr),
        gif_->Error);
  std::vector<GifPixelType> row(static_cast<size_t>(width_));  // giflib may change what it is given
  for (int64_t y = 0; y < height_; ++y) {
    const auto begin = indices.begin() + y * width_;
    row.assign(begin, begin + width_);
    check(EGifPutLine(gif_, row.data(), static_cast<int>(width_)), gif_->Error);
  }
}

std::string GifWriter::finish() {
  int error = 0;
  const int result = EGifCloseFile(gif_, &error);
  gif_ = nullptr;
  check(result, error);
  return std::move(bytes_);
}

}  // namespace vg::apps
