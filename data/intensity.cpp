// The intensity transforms of transforms.h.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "data/byte_source.h"
#include "data/transforms.h"
#include "kernels/common/parallel.h"

namespace vg::data {
namespace {

using kernels::cpu::parallel_for;

constexpr int64_t piece_voxels = int64_t{1} << 16;

/// Calls body(begin, end, piece) on pieces that depend on the count alone.
template <class Body>
void for_pieces(int64_t count, int64_t pieces, const Body& body) {
  parallel_for(pieces, 1, [&](int64_t piece) {
    body(kernels::cpu::piece_begin(count, pieces, piece), kernels::cpu::piece_begin(count, pieces, piece + 1),
         static_cast<size_t>(piece));
  });
}

int64_t pieces_of(int64_t count) {
  return kernels::cpu::reduction_pieces(count, piece_voxels);
}

void require_finite(const Image& image, const char* function) {
  const int64_t bad = count_nonfinite(image);
  if (bad > 0)
    throw DataError(join_text(function, ": found ", bad, " NaN or infinite voxels of ", image.voxels.size(),
                              ", expected none; repair the image or set them to 0"));
}

std::pair<float, float> minimum_and_maximum(const std::vector<float>& voxels) {
  const int64_t count = static_cast<int64_t>(voxels.size()), pieces = pieces_of(count);
  std::vector<std::pair<float, float>> partial(static_cast<size_t>(pieces), {voxels[0], voxels[0]});
  for_pieces(count, pieces, [&](int64_t begin, int64_t end, size_t piece) {
    float low = voxels[0], high = voxels[0];
    for (int64_t i = begin; i < end; ++i) {
      low = std::min(low, voxels[static_cast<size_t>(i)]);
      high = std::max(high, voxels[static_cast<size_t>(i)]);
    }
    partial[piece] = {low, high};
  });
  std::pair<float, float> result = partial[0];
  for (const auto& [low, high] : partial)
    result = {std::min(result.first, low), std::max(result.second, high)};
  return result;
}

/// numpy's default: linear between the two ranks around (n - 1) * percentile / 100. Reorders `values`.
double percentile_of(std::vector<float>& values, double percentile) {
  const double rank = static_cast<double>(values.size() - 1) * percentile / 100;
  const size_t lower = static_cast<size_t>(rank);
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(lower);
  std::nth_element(values.begin(), middle, values.end());
  const double low = *middle;
  if (lower + 1 == values.size()) return low;
  const double high = *std::min_element(middle + 1, values.end());
  return low + (high - low) * (rank - static_cast<double>(lower));
}

std::vector<float> selected(const Image& image, bool nonzero_only) {
  if (!nonzero_only) return image.voxels;
  std::vector<float> values;
  std::copy_if(image.voxels.begin(), image.voxels.end(), std::back_inserter(values),
               [](float v) { return v != 0; });
  return values;
}

struct Moments {
  double mean = 0, deviation = 0;
  int64_t count = 0;
};

/// Mean and unbiased standard deviation, in double, in two passes.
Moments moments_of(const Image& image, bool nonzero_only) {
  const int64_t count = static_cast<int64_t>(image.voxels.size()), pieces = pieces_of(count);
  std::vector<double> sums(static_cast<size_t>(pieces));
  std::vector<int64_t> counts(static_cast<size_t>(pieces));
  Moments result;
  const auto accumulate = [&](const auto& term) {
    for_pieces(count, pieces, [&](int64_t begin, int64_t end, size_t piece) {
      double sum = 0;
      int64_t number = 0;
      for (int64_t i = begin; i < end; ++i) {
        const float value = image.voxels[static_cast<size_t>(i)];
        if (nonzero_only && value == 0) continue;
        sum += term(static_cast<double>(value));
        ++number;
      }
      sums[piece] = sum;
      counts[piece] = number;
    });
    double total = 0;
    result.count = 0;
    for (size_t piece = 0; piece < sums.size(); ++piece) {
      total += sums[piece];
      result.count += counts[piece];
    }
    return total;
  };
  const double sum = accumulate([](double value) { return value; });
  if (result.count < 2) return result;
  result.mean = sum / static_cast<double>(result.count);
  const double squares =
      accumulate([&](double value) { return (value - result.mean) * (value - result.mean); });
  result.deviation = std::sqrt(squares / static_cast<double>(result.count - 1));
  return result;
}

/// The image with operation(value) in each voxel.
template <class Operation>
Image mapped(const Image& image, const Operation& operation) {
  Image result{image.geometry, std::vector<float>(image.voxels.size())};
  const int64_t count = static_cast<int64_t>(image.voxels.size());
  for_pieces(count, pieces_of(count), [&](int64_t begin, int64_t end, size_t) {
    for (int64_t i = begin; i < end; ++i)
      result.voxels[static_cast<size_t>(i)] = operation(image.voxels[static_cast<size_t>(i)]);
  });
  return result;
}

void check_params(const RescaleParams& p) {
  if (!(p.lower_percentile >= 0 && p.lower_percentile <= p.upper_percentile && p.upper_percentile <= 100))
    throw std::invalid_argument(join_text("rescale_intensity: found percentiles ", p.lower_percentile,
                                          " and ", p.upper_percentile,
                                          ", expected 0 <= lower <= upper <= 100"));
  if (!(p.out_min <= p.out_max))
    throw std::invalid_argument(join_text("rescale_intensity: found a range from ", p.out_min, " to ",
                                          p.out_max, ", expected the minimum first"));
}

}  // namespace

Image rescale_intensity(const Image& image, const RescaleParams& params, const Warn& warn) {
  check_params(params);
  require_finite(image, "rescale_intensity");
  const auto unchanged = [&](const char* reason) {
    if (warn) warn(join_text("rescale_intensity: ", reason, "; the image stays as it is"));
    return image;
  };
  if (image.voxels.empty()) return unchanged("found no voxels");
  auto [low, high] = minimum_and_maximum(image.voxels);
  float clip_low = low, clip_high = high;
  if (params.lower_percentile > 0 || params.upper_percentile < 100 || params.nonzero_only) {
    std::vector<float> values = selected(image, params.nonzero_only);
    if (values.empty()) return unchanged("found no voxel that is not 0");
    clip_low = static_cast<float>(percentile_of(values, params.lower_percentile));
    clip_high = static_cast<float>(percentile_of(values, params.upper_percentile));
    low = std::clamp(low, clip_low, clip_high);
    high = std::clamp(high, clip_low, clip_high);
  }
  const float range = high - low;
  if (range == 0) return unchanged("found one and the same intensity everywhere");
  const float out_range = params.out_max - params.out_min, out_min = params.out_min;
  // One rounding after each operation, in TorchIO's order.
  return mapped(image, [=](float value) {
    return (std::clamp(value, clip_low, clip_high) - low) / range * out_range + out_min;
  });
}

Image z_normalize(const Image& image, bool nonzero_only) {
  require_finite(image, "z_normalize");
  const Moments moments = moments_of(image, nonzero_only);
  if (!(moments.deviation > 0))
    throw DataError(join_text("z_normalize: found a standard deviation of 0 over ", moments.count,
                              " voxels, expected intensities that differ; leave the constant image out"));
  const float mean = static_cast<float>(moments.mean), deviation = static_cast<float>(moments.deviation);
  return mapped(image, [=](float value) { return (value - mean) / deviation; });
}

int64_t count_nonfinite(const Image& image) {
  const int64_t count = static_cast<int64_t>(image.voxels.size()), pieces = pieces_of(count);
  std::vector<int64_t> partial(static_cast<size_t>(pieces));
  for_pieces(count, pieces, [&](int64_t begin, int64_t end, size_t piece) {
    int64_t bad = 0;
    for (int64_t i = begin; i < end; ++i) bad += std::isfinite(image.voxels[static_cast<size_t>(i)]) ? 0 : 1;
    partial[piece] = bad;
  });
  int64_t total = 0;
  for (const int64_t bad : partial) total += bad;
  return total;
}

int64_t replace_nonfinite(Image& image, float value) {
  int64_t replaced = 0;
  for (float& voxel : image.voxels) {
    if (std::isfinite(voxel)) continue;
    voxel = value;
    ++replaced;
  }
  return replaced;
}

}  // namespace vg::data
