#pragma once

#include <cstddef>
#include <vector>

namespace exercise {

/// A dense activation [D, H, W, C] of zeros, for graders and exercises.
struct Volume {
  Volume(int d, int h, int w, int c)
      : depth(d), height(h), width(w), channels(c), values(static_cast<size_t>(d * h * w * c), 0.0f) {}

  [[nodiscard]] bool inside(int d, int h, int w) const {
    return d >= 0 && d < depth && h >= 0 && h < height && w >= 0 && w < width;
  }
  [[nodiscard]] int voxel(int d, int h, int w) const { return (d * height + h) * width + w; }
  [[nodiscard]] float at(int voxel, int channel) const {
    return values[static_cast<size_t>(voxel * channels + channel)];
  }
  float& at(int voxel, int channel) { return values[static_cast<size_t>(voxel * channels + channel)]; }
  /// Calls f(d, h, w) for each voxel, in order.
  template <class Function>
  void for_each_voxel(const Function& f) const {
    for (int d = 0; d < depth; ++d) {
      for (int h = 0; h < height; ++h) {
        for (int w = 0; w < width; ++w) f(d, h, w);
      }
    }
  }

  int depth, height, width, channels;
  std::vector<float> values;
};

}  // namespace exercise
