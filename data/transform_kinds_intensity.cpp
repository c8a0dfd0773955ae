// Transforms of intensities: drawn for each image, labels stay as they are.
#include <cmath>
#include <stdexcept>

#include "data/geometry.h"
#include "data/rigid.h"
#include "data/transform_kinds.h"
#include "kernels/augment/anisotropy.h"
#include "kernels/augment/bias_field.h"
#include "kernels/augment/blur.h"
#include "kernels/augment/gamma.h"
#include "kernels/augment/ghosting.h"
#include "kernels/augment/motion.h"
#include "kernels/augment/noise.h"
#include "kernels/augment/spike.h"

namespace vg::data {
namespace {

using kernels::Exec;
using kernels::View;

float as_float(const Parameters& p, std::string_view name) {
  return static_cast<float>(p.number(name));
}

std::vector<float> as_floats(const Parameters& p, std::string_view name) {
  const std::vector<double>& numbers = p.numbers(name);
  return {numbers.begin(), numbers.end()};
}

/// One of the axes listed in parameter `axes`.
double drawn_axis(const Parameters& arguments, Draws& draws) {
  const std::vector<double>& axes = arguments.numbers("axes");
  if (axes.empty()) throw std::invalid_argument("axes: found none, expected some of 0, 1, 2");
  for (const double axis : axes) checked_axis(axis);
  return axes[static_cast<size_t>(draws.integer(0, static_cast<int64_t>(axes.size()) - 1))];
}

int64_t drawn_count(const Parameters& arguments, std::string_view name, Draws& draws) {
  const auto [low, high] = range(arguments, name, Scalar::fixed, 0, 1e6);
  if (std::trunc(low) != low || std::trunc(high) != high)
    throw std::invalid_argument(std::string(name) + ": expected whole numbers");
  return draws.integer(static_cast<int64_t>(low), static_cast<int64_t>(high));
}

TransformKind ghosting_kind() {
  return {.name = "ghosting",
          .summary = "ghosts along an axis, as periodic movement leaves them",
          .for_each_image = true,
          .parameters = {{"num_ghosts", "", "number of ghosts"},
                         {"axis", "", "0, 1 or 2"},
                         {"intensity", "", "0: none; 1: the planes of k-space are removed"},
                         {"restore", "none", "share of the centre of k-space that is left as it was"}},
          .random_parameters = {{"num_ghosts", "(4,10)", "range"},
                                {"axes", "(0,1,2)", "one of them is drawn"},
                                {"intensity", "(0.5,1)", "range; one number is fixed"},
                                {"restore", "none", "range in [0,1]"}},
          .draw =
              [](const Parameters& a, Draws& draws) {
                Parameters p;
                p.set("num_ghosts", static_cast<double>(drawn_count(a, "num_ghosts", draws)));
                p.set("axis", drawn_axis(a, draws));
                p.set("intensity", draws.uniform(range(a, "intensity", Scalar::fixed, 0)));
                if (a.has("restore"))
                  p.set("restore", draws.uniform(range(a, "restore", Scalar::fixed, 0, 1)));
                return p;
              },
          .images =
              [](View<float> y, View<const float> x, const Parameters& p, const Geometry&, const Exec& exec) {
                kernels::GhostingParams params{.num_ghosts = static_cast<int>(p.integer("num_ghosts")),
                                               .axis = checked_axis(p.number("axis")),
                                               .intensity = as_float(p, "intensity"),
                                               .restore = {}};
                if (p.has("restore")) params.restore = as_float(p, "restore");
                ghosting(y, x, params, exec);
              },
          .labels = nullptr};
}

TransformKind spike_kind() {
  return {.name = "spike",
          .summary = "stripes, as single bright points of k-space leave them",
          .for_each_image = true,
          .parameters = {{"intensity", "", "multiple of the spectrum's maximum"},
                         {"spikes_positions", "", "three shares of k-space's extents for each spike"}},
          .random_parameters = {{"num_spikes", "1", "range"},
                                {"intensity", "(1,3)", "range; one number d is (-d,d)"}},
          .draw =
              [](const Parameters& a, Draws& draws) {
                Parameters p;
                std::vector<double> positions(3 * static_cast<size_t>(drawn_count(a, "num_spikes", draws)));
                p.set("intensity", draws.uniform(range(a, "intensity", Scalar::symmetric)));
                for (double& position : positions) position = draws.uniform(0, 1);
                p.set("spikes_positions", positions);
                return p;
              },
          .images =
              [](View<float> y, View<const float> x, const Parameters& p, const Geometry&, const Exec& exec) {
                const std::vector<float> shares = as_floats(p, "spikes_positions");
                if (shares.size() % 3 != 0)
                  throw std::invalid_argument("spikes_positions: expected three numbers for each spike");
                kernels::SpikeParams params{{}, as_float(p, "intensity")};
                for (size_t i = 0; i < shares.size(); i += 3)
                  params.positions.push_back({shares[i], shares[i + 1], shares[i + 2]});
                spike(y, x, params, exec);
              },
          .labels = nullptr};
}

TransformKind bias_field_kind() {
  return {.name = "bias_field",
          .summary = "slowly varying brightness, as inhomogeneous coils leave it",
          .for_each_image = true,
          .parameters = {{"coefficients", "", "of the polynomial: 20 for order 3"},
                         {"order", "3", "of the polynomial"}},
          .random_parameters = {{"coefficients", "0.5", "range; one number d is (-d,d)"},
                                {"order", "3", "of the polynomial"}},
          .draw =
              [](const Parameters& a, Draws& draws) {
                const int64_t n = a.integer("order");
                if (n < 0 || n > 16) throw std::invalid_argument("order: expected 0 to 16");
                const auto coefficients = range(a, "coefficients", Scalar::symmetric);
                std::vector<double> drawn(static_cast<size_t>((n + 1) * (n + 2) * (n + 3) / 6));
                for (double& coefficient : drawn) coefficient = draws.uniform(coefficients);
                Parameters p;
                p.set("coefficients", drawn);
                p.set("order", static_cast<double>(n));
                return p;
              },
          .images =
              [](View<float> y, View<const float> x, const Parameters& p, const Geometry&, const Exec& exec) {
                bias_field(y, x, {static_cast<int>(p.integer("order")), as_floats(p, "coefficients")}, exec);
              },
          .labels = nullptr};
}

TransformKind motion_kind() {
  return {.name = "motion",
          .summary = "the head moves during the scan",
          .for_each_image = true,
          .parameters = {{"times", "", "when, in (0,1): one for each movement"},
                         {"degrees", "", "three rotations for each movement"},
                         {"translation", "", "three millimetres for each movement"},
                         {"center", "image", "of rotation: image or origin (of the world)"}},
          .random_parameters = {{"degrees", "10", "range; one number d is (-d,d)"},
                                {"translation", "10", "range in millimetres; one number d is (-d,d)"},
                                {"num_transforms", "2", "number of movements"},
                                {"center", "image", "of rotation: image or origin (of the world)"}},
          .draw =
              [](const Parameters& a, Draws& draws) {
                const int64_t count = a.integer("num_transforms");
                if (count < 1 || count > 1000)
                  throw std::invalid_argument("num_transforms: expected 1 to 1000");
                const auto degrees_range = range(a, "degrees", Scalar::symmetric);
                const auto translation_range = range(a, "translation", Scalar::symmetric);
                std::vector<double> degrees(3 * static_cast<size_t>(count)), translation = degrees, times;
                for (double& angle : degrees) angle = draws.uniform(degrees_range);
                for (double& shift : translation) shift = draws.uniform(translation_range);
                const double step = 1.0 / static_cast<double>(count + 1);
                for (int64_t k = 1; k <= count; ++k)
                  times.push_back(static_cast<double>(k) * step + draws.uniform(-0.3 * step, 0.3 * step));
                Parameters p;
                p.set("times", times);
                p.set("degrees", degrees);
                p.set("translation", translation);
                p.set("center", a.value("center"));
                return p;
              },
          .images =
              [](View<float> y, View<const float> x, const Parameters& p, const Geometry& geometry,
                 const Exec& exec) {
                const std::vector<double>&degrees = p.numbers("degrees"), &shift = p.numbers("translation");
                kernels::MotionParams params{as_floats(p, "times"), {}};
                if (degrees.size() != 3 * params.times.size() || shift.size() != degrees.size())
                  throw std::invalid_argument("degrees, translation: expected three for each of the times");
                const Point center = center_of_rotation(p, geometry);
                for (size_t i = 0; i < degrees.size(); i += 3) {
                  const Affine moved = euler_rotation({degrees[i], degrees[i + 1], degrees[i + 2]},
                                                      {shift[i], shift[i + 1], shift[i + 2]}, center);
                  params.movements.push_back(in_voxels(moved, geometry));
                }
                motion(y, x, params, exec);
              },
          .labels = nullptr};
}

TransformKind noise_kind() {
  return {.name = "noise",
          .summary = "Gaussian noise",
          .for_each_image = true,
          .parameters = {{"mean", "0", "of the noise"},
                         {"std", "", "of the noise"},
                         {"seed", "", "of the noise"}},
          .random_parameters = {{"mean", "0", "range; one number d is (-d,d)"},
                                {"std", "(0,0.25)", "range; one number is fixed"}},
          .draw =
              [](const Parameters& a, Draws& draws) {
                Parameters p;
                p.set("mean", draws.uniform(range(a, "mean", Scalar::symmetric)));
                p.set("std", draws.uniform(range(a, "std", Scalar::fixed, 0)));
                p.set("seed", draws.seed());
                return p;
              },
          .images =
              [](View<float> y, View<const float> x, const Parameters& p, const Geometry&, const Exec& exec) {
                noise(y, x,
                      {as_float(p, "mean"), as_float(p, "std"), static_cast<uint64_t>(p.integer("seed"))},
                      exec);
              },
          .labels = nullptr};
}

TransformKind gamma_kind() {
  return {.name = "gamma",
          .summary = "change of contrast by a power",
          .for_each_image = true,
          .parameters = {{"gamma", "", "the exponent"}},
          .random_parameters = {{"log_gamma", "(-0.3,0.3)", "range; one number d is (-d,d)"}},
          .draw =
              [](const Parameters& a, Draws& draws) {
                Parameters p;
                p.set("gamma", std::exp(draws.uniform(range(a, "log_gamma", Scalar::symmetric))));
                return p;
              },
          .images = [](View<float> y, View<const float> x, const Parameters& p, const Geometry&,
                       const Exec& exec) { kernels::gamma(y, x, {as_float(p, "gamma")}, exec); },
          .labels = nullptr};
}

TransformKind blur_kind() {
  return {.name = "blur",
          .summary = "Gaussian blurring",
          .for_each_image = true,
          .parameters = {{"std", "", "standard deviation in millimetres, 1 or 3 of them"}},
          .random_parameters = {{"std", "(0,2)", "range in millimetres, or one for each axis"}},
          .draw =
              [](const Parameters& a, Draws& draws) {
                std::vector<double> deviations;
                // TorchIO: one number d is (0, d).
                Parameters arguments = a;
                if (a.numbers("std").size() == 1) arguments.set("std", {0, a.number("std")});
                if (a.numbers("std").size() == 3) {
                  const std::vector<double>& n = a.numbers("std");
                  arguments.set("std", {0, n[0], 0, n[1], 0, n[2]});
                }
                for (const auto& axis : three_ranges(arguments, "std", 0, 0))
                  deviations.push_back(draws.uniform(axis));
                Parameters p;
                p.set("std", deviations);
                return p;
              },
          .images =
              [](View<float> y, View<const float> x, const Parameters& p, const Geometry& geometry,
                 const Exec& exec) {
                const auto millimetres = p.three("std"), spacing = geometry.spacing();
                kernels::BlurParams params;
                for (size_t axis = 0; axis < 3; ++axis)
                  params.deviation[axis] = static_cast<float>(millimetres[axis] / spacing[axis]);
                blur(y, x, params, exec);
              },
          .labels = nullptr};
}

TransformKind anisotropy_kind() {
  return {.name = "anisotropy",
          .summary = "thick slices: fewer samples along an axis",
          .for_each_image = false,
          .parameters = {{"axis", "", "0, 1 or 2"}, {"downsampling", "", "factor, 1 or more"}},
          .random_parameters = {{"axes", "(0,1,2)", "one of them is drawn"},
                                {"downsampling", "(1.5,5)", "range; one number is fixed"}},
          .draw =
              [](const Parameters& a, Draws& draws) {
                Parameters p;
                p.set("axis", drawn_axis(a, draws));
                p.set("downsampling", draws.uniform(range(a, "downsampling", Scalar::fixed, 1)));
                return p;
              },
          .images =
              [](View<float> y, View<const float> x, const Parameters& p, const Geometry&, const Exec& exec) {
                anisotropy(y, x, {checked_axis(p.number("axis")), as_float(p, "downsampling")}, exec);
              },
          .labels = nullptr};
}

}  // namespace

std::vector<TransformKind> intensity_kinds() {
  return {ghosting_kind(), spike_kind(), bias_field_kind(), motion_kind(),
          noise_kind(),    gamma_kind(), blur_kind(),       anisotropy_kind()};
}

}  // namespace vg::data
