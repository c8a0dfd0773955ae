#include "apps/slice_animation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "apps/gif_file.h"

namespace vg::apps {

namespace {

// The palette, the same for every frame and file: 64 greys, then for each class 47 greys under its tint and
// its own colour. With four classes that is 256.
constexpr size_t kGreys = 64, kTints = 47, kClasses = 4;

std::array<Colour, 256> palette() {
  std::array<Colour, 256> colours{};
  for (size_t i = 0; i < kGreys; ++i) {
    const auto grey = static_cast<uint8_t>(i * 255 / (kGreys - 1));
    colours[i] = {grey, grey, grey};
  }
  for (size_t c = 1; c <= kClasses; ++c) {
    const Colour tint = class_colours()[c];
    const size_t first = kGreys + (c - 1) * (kTints + 1);
    for (size_t level = 0; level < kTints; ++level) {
      const double grey = static_cast<double>(level) * 255 / (kTints - 1);
      const auto mix = [&](uint8_t value) {
        return static_cast<uint8_t>(std::lround(grey * (1 - kOverlayAlpha) + value * kOverlayAlpha));
      };
      colours[first + level] = {mix(tint.red), mix(tint.green), mix(tint.blue)};
    }
    colours[first + kTints] = tint;
  }
  return colours;
}

uint8_t grey_index(unsigned grey) {
  return static_cast<uint8_t>(grey * kGreys / 256);
}
uint8_t tint_index(unsigned grey, uint8_t c) {
  return static_cast<uint8_t>(kGreys + (c - 1U) * (kTints + 1) + grey * kTints / 256);
}
uint8_t colour_index(uint8_t c) {
  return static_cast<uint8_t>(kGreys + (c - 1U) * (kTints + 1) + kTints);
}

class Frames {
 public:
  Frames(const FigureSubject& subject, int delay)
      : subject_(subject),
        panels_{&subject.prediction},
        width_(subject.prediction.width),
        height_(subject.prediction.height),
        letters_(static_cast<size_t>(width_ * height_)) {
    if (subject.truth) panels_.push_back(&*subject.truth);
    total_width_ = width_ * static_cast<int64_t>(panels_.size());
    indices_.resize(static_cast<size_t>(total_width_ * (height_ + kAnimationCaption)));
    gif_ = std::make_unique<GifWriter>(total_width_, height_ + kAnimationCaption, palette(), delay);
    if (width_ >= 100 && height_ >= 100) set_letters();
  }

  std::string draw() {
    for (int64_t slice = 0; slice < subject_.prediction.slices; ++slice) {
      draw_caption(slice);
      for (size_t panel = 0; panel < panels_.size(); ++panel) draw_panel(panel, slice);
      gif_->add_frame(indices_);
    }
    return gif_->finish();
  }

 private:
  // Orientation letters of a panel, as grey values.
  void set_letters() {
    Picture picture(width_, height_, kBlack);
    const SliceOrder& order = slice_order(subject_.axis);
    const auto w = static_cast<double>(width_), h = static_cast<double>(height_);
    const auto letter = [&](double x, double y, char direction) {
      picture.text({x, y}, std::string(1, direction), {11, {190, 190, 190}, Align::centre});
    };
    letter(7, h / 2 + 4, order.left);
    letter(w - 7, h / 2 + 4, order.right);
    letter(w / 2, 11, order.above);
    letter(w / 2, h - 4, order.below);
    const std::vector<uint8_t> rgb = picture.rgb();
    for (size_t i = 0; i < letters_.size(); ++i) letters_[i] = rgb[3 * i];
  }

  void draw_caption(int64_t slice) {
    const double size = std::clamp(static_cast<double>(width_) / 12, 6.0, 12.0);
    const double baseline = kAnimationCaption - 6;
    caption_.rectangle({0, 0, static_cast<double>(total_width_), static_cast<double>(kAnimationCaption)},
                       {28, 28, 28});
    const auto width = static_cast<double>(width_);
    caption_.text({4, baseline}, "Prediction", {size, kWhite});
    if (panels_.size() > 1) caption_.text({width + 4, baseline}, "Truth", {size, kWhite});
    caption_.text({static_cast<double>(total_width_) - 4, baseline}, std::to_string(slice),
                  {size, kWhite, Align::right});
    const std::vector<uint8_t> rgb = caption_.rgb();
    for (size_t i = 0; i < rgb.size() / 3; ++i) indices_[i] = grey_index(rgb[3 * i]);
  }

  void draw_panel(size_t panel, int64_t slice) {
    const ClassSlice classes = panels_[panel]->classes(slice);
    const std::span<const uint8_t> image =
        subject_.image ? subject_.image->slice(slice) : std::span<const uint8_t>();
    for (int64_t y = 0; y < height_; ++y) {
      uint8_t* row =
          indices_.data() + (kAnimationCaption + y) * total_width_ + static_cast<int64_t>(panel) * width_;
      for (int64_t x = 0; x < width_; ++x) {
        const auto voxel = static_cast<size_t>(x + width_ * y);
        const uint8_t grey = image.empty() ? uint8_t{0} : image[voxel];
        const uint8_t c = classes.at(x, y);
        row[x] = c == 0                      ? grey_index(std::max(grey, letters_[voxel]))
                 : classes.is_boundary(x, y) ? colour_index(c)
                                             : tint_index(grey, c);
      }
    }
  }

  const FigureSubject& subject_;
  std::vector<const SliceStack*> panels_;
  int64_t width_, height_, total_width_ = 0;
  std::vector<uint8_t> letters_, indices_;
  std::unique_ptr<GifWriter> gif_;
  Picture caption_{subject_.prediction.width * (subject_.truth ? 2 : 1), kAnimationCaption, kBlack};
};

}  // namespace

std::string draw_slice_animation(const FigureSubject& subject, int delay) {
  return Frames(subject, delay).draw();
}

}  // namespace vg::apps
