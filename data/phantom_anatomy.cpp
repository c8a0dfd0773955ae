#include "data/phantom_anatomy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "data/phantom_noise.h"

namespace vg::data {
namespace {

/// Voxels of value 0 that cannot be reached from the border get the darkest value: they are fluid, not
/// outside.
void fill_holes(Image& image) {
  const auto& extent = image.geometry.extent;
  std::vector<uint8_t> outside(image.voxels.size(), 0);
  std::vector<int64_t> stack;
  const auto visit = [&](int64_t i, int64_t j, int64_t k) {
    const int64_t index = image.geometry.index(i, j, k);
    if (outside[index] || image.voxels[index] > 0) return;
    outside[index] = 1;
    stack.push_back(index);
  };
  for (int64_t k = 0; k < extent[2]; ++k) {
    for (int64_t j = 0; j < extent[1]; ++j) {
      const bool face = k == 0 || k == extent[2] - 1 || j == 0 || j == extent[1] - 1;
      const int64_t step = face ? 1 : std::max<int64_t>(1, extent[0] - 1);
      for (int64_t i = 0; i < extent[0]; i += step) visit(i, j, k);
    }
  }
  while (!stack.empty()) {
    const int64_t index = stack.back(), i = index % extent[0], j = index / extent[0] % extent[1],
                  k = index / (extent[0] * extent[1]);
    stack.pop_back();
    if (i > 0) visit(i - 1, j, k);
    if (i + 1 < extent[0]) visit(i + 1, j, k);
    if (j > 0) visit(i, j - 1, k);
    if (j + 1 < extent[1]) visit(i, j + 1, k);
    if (k > 0) visit(i, j, k - 1);
    if (k + 1 < extent[2]) visit(i, j, k + 1);
  }
  float darkest = std::numeric_limits<float>::max();
  for (float v : image.voxels) {
    if (v > 0) darkest = std::min(darkest, v);
  }
  for (size_t n = 0; n < image.voxels.size(); ++n) {
    image.voxels[n] = outside[n] ? 0 : std::max(image.voxels[n], darkest);
  }
}

/// k-means with three classes on the histogram of the brain: in T1 fluid is darkest, white matter brightest.
std::array<float, 3> cluster(const std::vector<float>& voxels, const std::string& source) {
  constexpr int bins = 512;
  const float top = *std::max_element(voxels.begin(), voxels.end());
  std::vector<double> histogram(bins, 0);
  double total = 0;
  for (float v : voxels) {
    if (v <= 0) continue;
    histogram[std::min(bins - 1, static_cast<int>(v / top * bins))] += 1;
    total += 1;
  }
  const auto percentile = [&](double fraction) {
    double sum = 0;
    int bin = 0;
    while (bin < bins - 1 && (sum += histogram[bin]) < fraction * total) ++bin;
    return static_cast<double>(bin);
  };
  std::array<double, 3> means{percentile(0.02), percentile(0.4), percentile(0.9)};
  for (int iteration = 0; iteration < 100; ++iteration) {
    std::array<double, 3> weight{}, sum{};
    for (int bin = 0; bin < bins; ++bin) {
      const int nearest = bin < 0.5 * (means[0] + means[1]) ? 0 : bin < 0.5 * (means[1] + means[2]) ? 1 : 2;
      weight[nearest] += histogram[bin];
      sum[nearest] += histogram[bin] * bin;
    }
    const std::array<double, 3> before = means;
    for (int c = 0; c < 3; ++c) means[c] = weight[c] > 0 ? sum[c] / weight[c] : means[c];
    if (before == means) break;
  }
  if (!(means[0] < means[1] && means[1] < means[2])) {
    throw DataError(source +
                    ": anatomy: found no three tissue classes (fluid, grey, white matter), expected a "
                    "skull-stripped T1 brain; give another file with --anatomy");
  }
  return {static_cast<float>((means[0] + 0.5) / bins * top),
          static_cast<float>((means[1] + 0.5) / bins * top),
          static_cast<float>((means[2] + 0.5) / bins * top)};
}

void check_skull_stripped(const Image& image, const std::string& source) {
  const auto& extent = image.geometry.extent;
  int64_t brain = 0, border = 0, border_brain = 0, nonfinite = 0;
  for (int64_t k = 0, n = 0; k < extent[2]; ++k) {
    for (int64_t j = 0; j < extent[1]; ++j) {
      for (int64_t i = 0; i < extent[0]; ++i, ++n) {
        const bool face =
            i == 0 || j == 0 || k == 0 || i == extent[0] - 1 || j == extent[1] - 1 || k == extent[2] - 1;
        const bool inside = image.voxels[n] > 0;
        nonfinite += !std::isfinite(image.voxels[n]);
        brain += inside;
        border += face;
        border_brain += face && inside;
      }
    }
  }
  const std::string found = source + ": anatomy: found ";
  const std::string expected =
      ", expected a skull-stripped T1 brain on a background of 0; give another file with --anatomy";
  if (nonfinite > 0)
    throw DataError(found + std::to_string(nonfinite) + " NaN or infinite voxels" + expected);
  if (brain < 1000) throw DataError(found + std::to_string(brain) + " voxels above 0" + expected);
  if (border_brain * 5 > border) {
    throw DataError(found + std::to_string(border_brain) + " of " + std::to_string(border) +
                    " border voxels above 0" + expected);
  }
}

Anatomy finish(Image image, std::string source) {
  check_skull_stripped(image, source);
  for (float& v : image.voxels) v = std::max(v, 0.0f);
  fill_holes(image);
  Anatomy anatomy;
  anatomy.class_means = cluster(image.voxels, source);
  std::array<double, 3> low{1e9, 1e9, 1e9}, high{-1e9, -1e9, -1e9};
  const auto& extent = image.geometry.extent;
  for (int64_t k = 0, n = 0; k < extent[2]; ++k) {
    for (int64_t j = 0; j < extent[1]; ++j) {
      for (int64_t i = 0; i < extent[0]; ++i, ++n) {
        if (image.voxels[n] <= 0) continue;
        for (int axis = 0; axis < 3; ++axis) {
          const auto& row = image.geometry.affine[axis];
          const double mm = row[0] * i + row[1] * j + row[2] * k + row[3];
          low[axis] = std::min(low[axis], mm);
          high[axis] = std::max(high[axis], mm);
        }
      }
    }
  }
  for (int axis = 0; axis < 3; ++axis) {
    anatomy.centre[axis] = 0.5 * (low[axis] + high[axis]);
    anatomy.size[axis] = high[axis] - low[axis];
  }
  anatomy.t1 = std::move(image);
  anatomy.source = std::move(source);
  return anatomy;
}

float smooth_step(float signed_mm, float width) {
  return 1 / (1 + std::exp(-signed_mm / width));
}

/// Distance in mm, about, from the surface of an ellipsoid; negative inside.
float ellipsoid(const std::array<float, 3>& p, const std::array<float, 3>& centre,
                const std::array<float, 3>& radius) {
  float sum = 0;
  for (int a = 0; a < 3; ++a) sum += (p[a] - centre[a]) * (p[a] - centre[a]) / (radius[a] * radius[a]);
  return (std::sqrt(sum) - 1) * std::min({radius[0], radius[1], radius[2]});
}

/// T1 intensity of the procedural brain at p (RAS mm from its centre); 0 outside.
float procedural_t1(const std::array<float, 3>& p, float fold, float warp) {
  constexpr float fluid = 35, grey = 80, white = 114;
  const std::array<float, 3> side{std::fabs(p[0]), p[1], p[2]};
  const float cerebrum = ellipsoid(side, {0, 0, 8}, {70, 86, 64}) + 2 * warp;
  const float cerebellum = ellipsoid(side, {20, -48, -42}, {34, 30, 24}) + warp;
  const float stem = p[2] > 0 ? 1e3f : ellipsoid(p, {0, -22, -45}, {13, 14, 36});
  const float surface = std::min({cerebrum, cerebellum, stem});
  if (surface > 0) return 0;
  // Sulci: sheets where a smooth field crosses zero, some 15 mm deep; the cortex is what lies within 3 mm of
  // fluid.
  const float depth = -cerebrum, sulcus = std::max(std::fabs(fold) * 9 - 1, 0.6f * (depth - 16));
  const float fissure = std::max(side[0] - 1, -(p[2] - 14) * 0.5f);
  float to_fluid = std::min({depth, std::max(sulcus, 0.0f), std::max(fissure, 0.0f)});
  if (cerebrum > 0)
    to_fluid = -std::min(cerebellum, stem) + (cerebellum < stem ? 1.5f * std::fabs(fold) : 4.0f);
  const float ventricle =
      std::min(ellipsoid(side, {11, 4, 14}, {6, 32, 9}),
               std::min(ellipsoid(side, {24, -28, 2}, {6, 16, 12}), ellipsoid(p, {0, -4, 0}, {3, 14, 12})));
  const float deep =
      std::min(ellipsoid(side, {24, 6, 2}, {8, 20, 12}), ellipsoid(side, {11, -14, 4}, {8, 13, 9}));
  float value = grey + (white - grey) * smooth_step(to_fluid - 3, 0.5f);
  value += (0.5f * (grey + white) - value) * smooth_step(-deep, 0.6f);
  value += (fluid - value) * smooth_step(std::max(-ventricle, 0.7f - to_fluid), 0.4f);
  return value;
}

}  // namespace

Anatomy read_anatomy(const std::filesystem::path& file, const Warn& warn) {
  return finish(read_image(file, warn), file.string());
}

Anatomy procedural_anatomy(double voxel_size) {
  const std::array<double, 3> first{-80, -96, -84}, last{80, 96, 80};  // RAS mm
  Image image;
  auto& extent = image.geometry.extent;
  for (int a = 0; a < 3; ++a) {
    extent[a] = static_cast<int64_t>(std::floor((last[a] - first[a]) / voxel_size)) + 1;
    image.geometry.affine[a][a] = voxel_size;
    image.geometry.affine[a][3] = first[a];
  }
  image.voxels.resize(image.geometry.voxels());
  const SmoothField fold(PhantomRandom(0, 0, PhantomStream::anatomy, 0), extent, voxel_size, 13);
  const SmoothField warp(PhantomRandom(0, 0, PhantomStream::anatomy, 1), extent, voxel_size, 30);
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t k = 0; k < extent[2]; ++k) {
    std::vector<float> folds(extent[0]), warps(extent[0]);
    const auto mm = [&](int axis, int64_t n) { return static_cast<float>(first[axis] + voxel_size * n); };
    for (int64_t j = 0; j < extent[1]; ++j) {
      fold.row(0, j, k, folds);
      warp.row(0, j, k, warps);
      for (int64_t i = 0; i < extent[0]; ++i) {
        image.voxels[image.geometry.index(i, j, k)] =
            procedural_t1({mm(0, i), mm(1, j), mm(2, k)}, folds[i], warps[i]);
      }
    }
  }
  return finish(std::move(image), "procedural");
}

Anatomy choose_anatomy(const std::filesystem::path& file, bool procedural, double voxel_size,
                       const Warn& warn) {
  if (!file.empty() && !procedural) return read_anatomy(file, warn);
  if (!procedural) {
    if (std::filesystem::exists(default_anatomy_file)) return read_anatomy(default_anatomy_file, warn);
    if (warn) {
      warn(std::string("phantom: ") + default_anatomy_file +
           " is not installed (Debian package mricron-data), so a procedural brain is used; give another T1 "
           "brain "
           "with --anatomy");
    }
  }
  return procedural_anatomy(std::min(voxel_size, 2.0));
}

}  // namespace vg::data
