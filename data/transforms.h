// Preprocessing, each step a pure function on an image or a label map. Semantics are those of TorchIO 0.20.4,
// which the seed of this project used; the names of its classes are given. Intensities agree within rounding,
// labels and geometry exactly.
//
// Volumes are taken by const reference and returned anew. Every function throws DataError where the input
// cannot be treated (crop larger than the image, constant volume in z_normalize, voxels that are not finite)
// and std::invalid_argument for parameters that make no sense (negative bounds, spacing <= 0).
#pragma once

#include <array>
#include <cstdint>

#include "data/error.h"
#include "data/volume.h"

namespace vg::data {

/// Voxels per face: {i begin, i end, j begin, j end, k begin, k end}.
using Bounds = std::array<int64_t, 6>;

enum class Interpolation : uint8_t { nearest, linear };

/// Linear for images, nearest for label maps.
template <class T>
inline constexpr Interpolation default_interpolation = Interpolation::nearest;
template <>
inline constexpr Interpolation default_interpolation<float> = Interpolation::linear;

// ---- Geometry: what each spatial transform does to the grid, without touching voxels. ----

/// Axes flipped and permuted to the closest RAS+ (TorchIO ToCanonical).
Geometry canonical_geometry(const Geometry& geometry);
/// Throws DataError unless at least one voxel is left along every axis.
Geometry cropped_geometry(const Geometry& geometry, const Bounds& bounds);
Geometry padded_geometry(const Geometry& geometry, const Bounds& bounds);
/// The grid of `spacing` mm that begins at the same outer corner: extents ceil(extent * old / new) (an extent
/// of 1 stays), first voxel at index (new / old - 1) / 2 of the old grid (TorchIO Resample).
Geometry resampled_geometry(const Geometry& geometry, const std::array<double, 3>& spacing);
/// The padding that makes every extent a multiple: the larger half in front (TorchIO EnsureShapeMultiple).
Bounds padding_to_multiple(const Geometry& geometry, const std::array<int64_t, 3>& multiple);

// ---- Spatial transforms, for T = float (Image) and uint8_t (LabelMap). ----

/// Flips and permutes the axes to the closest RAS+; values are only moved (TorchIO ToCanonical, nibabel
/// as_closest_canonical).
template <class T>
Volume<T> to_canonical(const Volume<T>& volume);
/// Back from the canonical grid to `original`'s, whose canonical_geometry has volume's extents.
template <class T>
Volume<T> from_canonical(const Volume<T>& canonical, const Geometry& original);

/// Cuts voxels off each face (TorchIO Crop).
template <class T>
Volume<T> crop(const Volume<T>& volume, const Bounds& bounds);
/// Adds voxels of value `fill` at each face (TorchIO Pad).
template <class T>
Volume<T> pad(const Volume<T>& volume, const Bounds& bounds, T fill = T{});
/// Pads with zeros to multiples of `multiple` (TorchIO EnsureShapeMultiple with method "pad").
template <class T>
Volume<T> ensure_shape_multiple(const Volume<T>& volume, const std::array<int64_t, 3>& multiple);

/// Resamples onto any grid. A voxel whose place is more than half a voxel outside the volume gets `outside`;
/// within that half voxel the edge is repeated (ITK's ResampleImageFilter with its linear or nearest
/// interpolator; exact halves round up).
template <class T>
Volume<T> resample_to(const Volume<T>& volume, const Geometry& target,
                      Interpolation interpolation = default_interpolation<T>, T outside = T{});
/// resample_to the resampled_geometry (TorchIO Resample).
template <class T>
Volume<T> resample(const Volume<T>& volume, const std::array<double, 3>& spacing,
                   Interpolation interpolation = default_interpolation<T>);

// ---- Intensity transforms. ----

/// TorchIO RescaleIntensity: clips to the two percentiles (0..100, linear between ranks as in numpy), then
/// maps [min, max] to [out_min, out_max] in float arithmetic.
struct RescaleParams {
  float out_min = 0, out_max = 1;
  double lower_percentile = 0, upper_percentile = 100;
  bool nonzero_only = false;  ///< take the percentiles over voxels != 0 (masking_method = lambda x: x != 0)
};
/// A constant image (or an empty mask) is returned unchanged with a warning, as in TorchIO.
Image rescale_intensity(const Image& image, const RescaleParams& params = {}, const Warn& warn = {});

/// TorchIO ZNormalization: (x - mean) / standard deviation (n - 1 in its denominator), the statistics taken
/// over all voxels or those != 0. Throws DataError if the standard deviation is 0.
Image z_normalize(const Image& image, bool nonzero_only = false);

/// Number of voxels that are NaN or infinite.
int64_t count_nonfinite(const Image& image);
/// Sets them to `value`; returns how many there were.
int64_t replace_nonfinite(Image& image, float value = 0);

}  // namespace vg::data
