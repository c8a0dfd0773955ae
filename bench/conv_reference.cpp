#include "bench/conv_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vg::bench {

namespace {

struct Index {
  int64_t n, d, h, w, c;
};

Index split(int64_t index, const View<const float>& v) {
  const int64_t voxel = index / v.c;
  return {voxel / (v.w * v.h * v.d), voxel / (v.w * v.h) % v.d, voxel / v.w % v.h, voxel % v.w, index % v.c};
}

bool inside(const View<const float>& v, int64_t d, int64_t h, int64_t w) {
  return d >= 0 && d < v.d && h >= 0 && h < v.h && w >= 0 && w < v.w;
}

// Calls body(kd, kh, kw, tap).
template <class Body>
void for_each_tap(const ConvTask& t, const Body& body) {
  int64_t tap = 0;
  for (int64_t kd = 0; kd < t.kernel_size; ++kd) {
    for (int64_t kh = 0; kh < t.kernel_size; ++kh) {
      for (int64_t kw = 0; kw < t.kernel_size; ++kw) body(kd, kh, kw, tap++);
    }
  }
}

double product(float a, float b) {
  return static_cast<double>(a) * static_cast<double>(b);
}

double gathered(const ConvTask& t, const Index& at) {
  double sum = 0;
  for_each_tap(t, [&](int64_t kd, int64_t kh, int64_t kw, int64_t tap) {
    const int64_t d = at.d * t.stride - t.padding + kd, h = at.h * t.stride - t.padding + kh,
                  w = at.w * t.stride - t.padding + kw;
    if (!inside(t.large, d, h, w)) return;
    for (int64_t c = 0; c < t.large.c; ++c)
      sum += product(t.large.at(at.n, d, h, w)[c], t.weights[(at.c * t.large.c + c) * t.taps() + tap]);
  });
  return sum;
}

double scattered(const ConvTask& t, const Index& at) {
  double sum = 0;
  for_each_tap(t, [&](int64_t kd, int64_t kh, int64_t kw, int64_t tap) {
    const int64_t d = at.d + t.padding - kd, h = at.h + t.padding - kh, w = at.w + t.padding - kw;
    if (d % t.stride != 0 || h % t.stride != 0 || w % t.stride != 0) return;
    if (!inside(t.small, d / t.stride, h / t.stride, w / t.stride)) return;
    const float* from = t.small.at(at.n, d / t.stride, h / t.stride, w / t.stride);
    for (int64_t c = 0; c < t.small.c; ++c)
      sum += product(from[c], t.weights[(c * t.large.c + at.c) * t.taps() + tap]);
  });
  return sum;
}

double weight_gradient(const ConvTask& t, int64_t index) {
  const int64_t tap = index % t.taps(), large_c = index / t.taps() % t.large.c,
                small_c = index / t.taps() / t.large.c;
  const int64_t k = t.kernel_size, kd = tap / (k * k), kh = tap / k % k, kw = tap % k;
  double sum = 0;
  for (int64_t row = 0; row < t.small.rows(); ++row) {
    const Index at = split(row * t.small.w * t.small.c, t.small);
    for (int64_t w = 0; w < t.small.w; ++w) {
      const int64_t ld = at.d * t.stride - t.padding + kd, lh = at.h * t.stride - t.padding + kh,
                    lw = w * t.stride - t.padding + kw;
      if (inside(t.large, ld, lh, lw))
        sum += product(t.small.at(at.n, at.d, at.h, w)[small_c], t.large.at(at.n, ld, lh, lw)[large_c]);
    }
  }
  return sum;
}

}  // namespace

double conv_element(const ConvTask& task, int64_t index) {
  switch (task.pass) {
    case ConvPass::gather:
      return gathered(task, split(index, task.small));
    case ConvPass::scatter:
      return scattered(task, split(index, task.large));
    case ConvPass::weights:
      return weight_gradient(task, index);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

Deviation conv_deviation(const ConvTask& task, const std::vector<float>& result, DType result_type) {
  // A weight's gradient sums over all voxels: fewer of them.
  const int64_t count = static_cast<int64_t>(result.size()),
                samples = std::min<int64_t>(count, task.pass == ConvPass::weights ? 24 : 500);
  double worst = 0, squares = 0;
  for (int64_t i = 0; i < samples; ++i) {
    // First and last element are among them; the rest falls on all channels and taps.
    const int64_t index = samples == 1 ? 0 : (count - 1) * i / (samples - 1);
    const double exact = conv_element(task, index),
                 error = std::abs(static_cast<double>(result[static_cast<size_t>(index)]) - exact);
    if (!(error <= worst)) worst = error;
    squares += exact * exact;
  }
  const double magnitude = std::sqrt(squares / static_cast<double>(samples));
  // Float sums of these products deviate by about 1e-6 (Winograd's by 1e-5); rounding to bfloat16 by 2^-9 of
  // the value, and values of four times the magnitude occur.
  return {worst / magnitude, result_type == DType::bfloat16 ? 0x1p-6 : 1e-4};
}

std::vector<float> exact_values(int64_t count, uint32_t seed) {
  std::vector<float> values(static_cast<size_t>(count));
  uint32_t state = 2 * seed + 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;  // Numerical Recipes' generator: quick, and good enough here
    value = 0.125f * (static_cast<float>((state >> 16) % 15) - 7);
  }
  return values;
}

}  // namespace vg::bench
