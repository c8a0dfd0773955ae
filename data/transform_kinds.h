// The table of augmentation transforms: for each its parameters, how to draw them, and the kernel that
// applies them. The next transform is one entry here (in transform_kinds_*.cpp).
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "data/transform_text.h"
#include "data/volume.h"
#include "kernels/common/exec.h"
#include "kernels/common/view.h"

namespace vg::data {

/// Random numbers for parameters: a function of (seed, stream) and of how many were drawn before.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  /// In [low, high).
  double uniform(double low, double high);
  double uniform(const std::pair<double, double>& range) { return uniform(range.first, range.second); }
  /// In [low, high], each as likely.
  int64_t integer(int64_t low, int64_t high);
  /// 31 bits, for a transform with random numbers of its own.
  double seed();

 private:
  uint64_t next();
  uint64_t seed_, stream_, drawn_ = 0;
};

struct ParameterSpec {
  std::string_view name;
  std::string_view fallback;  ///< default as text; "": must be given; "none": may be left out
  std::string_view meaning;
};

struct TransformKind {
  std::string_view name;  ///< the random form is random_<name>
  std::string_view summary;
  bool for_each_image;  ///< drawn for each image of a subject, else once for the subject
  std::vector<ParameterSpec> parameters, random_parameters;

  /// From the arguments of the random form (complete, with defaults) those of the deterministic one. Throws
  /// std::invalid_argument for ranges that make no sense.
  Parameters (*draw)(const Parameters& arguments, Draws& draws);
  /// y = transform of x, volumes [N, D, H, W, 1] on one grid.
  void (*images)(kernels::View<float> y, kernels::View<const float> x, const Parameters& parameters,
                 const Geometry& geometry, const kernels::Exec& exec);
  /// The same for labels; nullptr if the transform leaves voxels where they are.
  void (*labels)(kernels::View<uint8_t> y, kernels::View<const uint8_t> x, const Parameters& parameters,
                 const Geometry& geometry, const kernels::Exec& exec);
};

/// All kinds, in the order in which they are listed for users.
std::span<const TransformKind> transform_kinds();
/// Those of transform_kinds_intensity.cpp and transform_kinds_spatial.cpp.
std::vector<TransformKind> intensity_kinds();
std::vector<TransformKind> spatial_kinds();

/// `given`, completed by the defaults of `specs`. Throws std::invalid_argument for an unknown name (naming
/// the nearest), or one that is missing.
Parameters complete(std::string_view transform, const Parameters& given,
                    std::span<const ParameterSpec> specs);

/// What a scalar d given for a range means.
enum class Scalar : uint8_t {
  fixed,      ///< [d, d]: TorchIO where a smallest value is given
  symmetric,  ///< [-d, d]
};
/// Parameter `name` as a range: (a, b), or one number. Throws std::invalid_argument unless least <= a <= b.
std::pair<double, double> range(const Parameters& arguments, std::string_view name, Scalar scalar,
                                double least = -1e30, double most = 1e30);
/// As a range for each of three axes: d, (a, b), (d1, d2, d3) or (a1, b1, a2, b2, a3, b3), where d means
/// [around - d, around + d] (TorchIO parse_params).
std::array<std::pair<double, double>, 3> three_ranges(const Parameters& arguments, std::string_view name,
                                                      double around, double least = -1e30);

}  // namespace vg::data
