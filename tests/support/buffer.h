// Memory for tests: poisoned, with guard bytes on both sides, as a view with any halo and channel slice, on
// any device.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::test {

using kernels::DeviceKind;
using kernels::View;

/// A flat array on a device between guards. The content starts as 0xFF bytes (NaN as float).
template <class T>
class Buffer {
 public:
  Buffer(DeviceKind device, int64_t count) : device_(device), count_(count) {
    memory_ = kernels::allocate_device_memory(device, bytes());
    upload_raw(std::vector<unsigned char>(bytes(), 0xFF));
  }
  Buffer(DeviceKind device, const std::vector<T>& values)
      : Buffer(device, static_cast<int64_t>(values.size())) {
    set(values);
  }
  ~Buffer() {
    EXPECT_TRUE(guards_intact()) << "a kernel wrote outside of its buffer";
    kernels::free_device_memory(device_, memory_, bytes());
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() const { return reinterpret_cast<T*>(static_cast<unsigned char*>(memory_) + guard); }
  int64_t count() const { return count_; }
  void set(const std::vector<T>& values) {
    kernels::copy_memory(data(), device_, values.data(), DeviceKind::cpu, values.size() * sizeof(T), nullptr);
  }
  std::vector<T> get() const {
    std::vector<T> values(static_cast<size_t>(count_));
    kernels::copy_memory(values.data(), DeviceKind::cpu, data(), device_, values.size() * sizeof(T), nullptr);
    return values;
  }
  bool guards_intact() const {
    std::vector<unsigned char> raw(bytes());
    kernels::copy_memory(raw.data(), DeviceKind::cpu, memory_, device_, raw.size(), nullptr);
    for (size_t i = 0; i < guard; ++i) {
      if (raw[i] != 0xFF || raw[raw.size() - 1 - i] != 0xFF) return false;
    }
    return true;
  }

 private:
  static constexpr size_t guard = 512;
  size_t bytes() const { return static_cast<size_t>(count_) * sizeof(T) + 2 * guard; }
  void upload_raw(const std::vector<unsigned char>& raw) {
    kernels::copy_memory(memory_, device_, raw.data(), DeviceKind::cpu, raw.size(), nullptr);
  }

  DeviceKind device_;
  int64_t count_;
  void* memory_ = nullptr;
};

/// How an activation lies in memory: `halo` zero voxels around it, and other channels (poisoned) before and
/// after its own.
struct Placement {
  int halo = 0;
  int64_t channels_before = 0;
  int64_t channels_after = 0;
};

/// The placements that every op must accept.
inline std::vector<Placement> placements() {
  return {{0, 0, 0}, {1, 0, 0}, {1, 3, 2}, {0, 16, 0}};
}

/// [N, D, H, W, C] on a device. Values go in and out as dense vectors in that order.
template <class T>
class Activation {
 public:
  Activation(DeviceKind device, int64_t n, int64_t d, int64_t h, int64_t w, int64_t c, Placement p = {})
      : placement_(p),
        width_(p.channels_before + c + p.channels_after),
        buffer_(device, n * (d + 2 * p.halo) * (h + 2 * p.halo) * (w + 2 * p.halo) * width_) {
    view_.n = n, view_.d = d, view_.h = h, view_.w = w, view_.c = c;
    view_.stride_w = width_;
    view_.stride_h = view_.stride_w * (w + 2 * p.halo);
    view_.stride_d = view_.stride_h * (h + 2 * p.halo);
    view_.stride_n = view_.stride_d * (d + 2 * p.halo);
    view_.halo = p.halo;
    view_.data =
        buffer_.data() + p.halo * (view_.stride_d + view_.stride_h + view_.stride_w) + p.channels_before;
    if (p.halo > 0) clear_halo();
    before_ = buffer_.get();
  }
  Activation(DeviceKind device, int64_t n, int64_t d, int64_t h, int64_t w, int64_t c,
             const std::vector<T>& values, Placement p = {})
      : Activation(device, n, d, h, w, c, p) {
    set(values);
  }
  /// Checks that nothing but the view's own elements has changed since it was made: neither halo nor other
  /// channels.
  ~Activation() { EXPECT_TRUE(outside_untouched()) << "a kernel wrote to the halo or to other channels"; }

  View<T> view() const { return view_; }
  operator View<T>() const { return view_; }
  operator View<const T>() const { return view_; }

  void set(const std::vector<T>& values) {
    std::vector<T> all = buffer_.get();
    size_t i = 0;
    for_each_element([&](size_t offset) { all[offset] = values.at(i++); });
    buffer_.set(all);
  }
  std::vector<T> get() const {
    const std::vector<T> all = buffer_.get();
    std::vector<T> values;
    values.reserve(static_cast<size_t>(view_.elements()));
    for_each_element([&](size_t offset) { values.push_back(all[offset]); });
    return values;
  }

 private:
  template <class F>
  void for_each_element(const F& f) const {
    for (int64_t row = 0; row < view_.rows(); ++row) {
      for (int64_t x = 0; x < view_.w; ++x) {
        for (int64_t ch = 0; ch < view_.c; ++ch) {
          f(static_cast<size_t>(view_.row(row) - buffer_.data() + x * view_.stride_w + ch));
        }
      }
    }
  }
  void clear_halo() {
    std::vector<T> all = buffer_.get();
    std::vector<bool> inside(all.size(), false);
    for (int64_t row = 0; row < view_.rows(); ++row) {
      const auto first = view_.row(row) - buffer_.data() - placement_.channels_before;
      for (int64_t i = 0; i < view_.w * width_; ++i) inside[static_cast<size_t>(first + i)] = true;
    }
    for (size_t i = 0; i < all.size(); ++i) {
      if (!inside[i]) all[i] = T{};
    }
    buffer_.set(all);
  }
  bool outside_untouched() const {
    std::vector<T> now = buffer_.get(), then = before_;
    for_each_element([&](size_t offset) { now[offset] = then[offset] = T{}; });
    return std::memcmp(now.data(), then.data(), now.size() * sizeof(T)) == 0;
  }

  Placement placement_;
  int64_t width_;
  Buffer<T> buffer_;
  View<T> view_;
  std::vector<T> before_;
};

}  // namespace vg::test
