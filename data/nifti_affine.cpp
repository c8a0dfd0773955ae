// The affine of a NIfTI header. Precedence as in nibabel: sform if its code is positive, else qform if its
// code is positive, else the pixel sizes with x running to the left and the volume's centre at the origin.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "data/geometry.h"
#include "data/nifti_header.h"

namespace vg::data {
namespace {

/// Beyond these an image is reported as oblique or sheared: reorientation is then to the closest axes only.
constexpr double reported_obliquity_degrees = 0.5, reported_shear_degrees = 0.1;
/// sform and qform that differ by more than this are reported: well above the rounding of float32 headers.
constexpr double reported_distance_mm = 0.1;

template <class Header>
Affine sform(const Header& header) {
  Affine affine;
  for (size_t column = 0; column < 4; ++column) {
    affine[0][column] = header.srow_x[column];
    affine[1][column] = header.srow_y[column];
    affine[2][column] = header.srow_z[column];
  }
  return affine;
}

template <class Header>
Affine qform(const Header& header, const std::array<double, 3>& spacing) {
  const nifti_dmat44 matrix = nifti_quatern_to_dmat44(
      header.quatern_b, header.quatern_c, header.quatern_d, header.qoffset_x, header.qoffset_y,
      header.qoffset_z, spacing[0], spacing[1], spacing[2], header.pixdim[0] < 0 ? -1.0 : 1.0);
  Affine affine;
  for (size_t row = 0; row < 3; ++row)
    for (size_t column = 0; column < 4; ++column) affine[row][column] = matrix.m[row][column];
  return affine;
}

Affine from_spacing(const std::array<int64_t, 3>& extent, const std::array<double, 3>& spacing) {
  Affine affine{};
  for (size_t axis = 0; axis < 3; ++axis) {
    affine[axis][axis] = axis == 0 ? -spacing[axis] : spacing[axis];
    affine[axis][3] = -affine[axis][axis] * static_cast<double>(extent[axis] - 1) / 2;
  }
  return affine;
}

/// pixdim[1..3], mended where it cannot be a length.
template <class Header>
std::array<double, 3> checked_spacing(const Header& header, bool used, const std::filesystem::path& file,
                                      const Warn& warn) {
  std::array<double, 3> spacing;
  for (size_t axis = 0; axis < 3; ++axis) {
    const double found = header.pixdim[axis + 1];
    const bool usable = std::isfinite(found) && found != 0;
    spacing[axis] = usable ? std::abs(found) : 1;
    if ((usable && found > 0) || !warn) continue;
    const std::string instead =
        used ? join_text("taken as ", spacing[axis], " mm") : "the sform is used instead";
    warn(join_text(file.string(), ": pixdim[", axis + 1, "]: found ", found, ", expected a length above 0; ",
                   instead));
  }
  return spacing;
}

std::string show(const Affine& affine) {
  std::ostringstream text;
  for (size_t row = 0; row < 3; ++row) {
    text << (row == 0 ? "[" : "; ");
    for (size_t column = 0; column < 4; ++column) text << (column == 0 ? "" : " ") << affine[row][column];
  }
  text << "]";
  return text.str();
}

void warn_of_disagreement(const Geometry& with_sform, const Affine& other, const std::filesystem::path& file,
                          const Warn& warn) {
  if (!is_invertible(other)) return;
  const double distance = grid_distance(with_sform, {with_sform.extent, other});
  if (distance > reported_distance_mm)
    warn(join_text(file.string(), ": sform and qform: found up to ", distance,
                   " mm apart, expected the same place; the sform is used"));
}

void warn_of_tilt(const Affine& affine, const std::filesystem::path& file, const Warn& warn) {
  const double shear = shear_degrees(affine), tilt = obliquity_degrees(affine);
  if (shear > reported_shear_degrees)
    warn(join_text(file.string(), ": affine: found axes sheared by ", shear,
                   " degrees, expected right angles; reorientation is to the closest axes"));
  else if (tilt > reported_obliquity_degrees)
    warn(join_text(file.string(), ": affine: found axes oblique by ", tilt,
                   " degrees; reorientation is to the closest axes"));
}

template <class Header>
void set_from(NiftiInfo& info, const Header& header, const std::filesystem::path& file, const Warn& warn) {
  Geometry& geometry = info.geometry;
  for (size_t axis = 0; axis < 3; ++axis)
    geometry.extent[axis] = axis < info.extents.size() ? info.extents[axis] : 1;
  const bool has_sform = header.sform_code > 0, has_qform = header.qform_code > 0;
  const std::array<double, 3> spacing = checked_spacing(header, !has_sform, file, warn);
  info.transform_source = has_sform ? "sform" : has_qform ? "qform" : "pixdim";
  geometry.affine = has_sform   ? sform(header)
                    : has_qform ? qform(header, spacing)
                                : from_spacing(geometry.extent, spacing);
  if (!is_invertible(geometry.affine))
    throw_bad_file(file, info.transform_source, show(geometry.affine) + " (singular or not finite)",
                   "an affine that can be inverted",
                   "set a right sform, or sform_code 0 if the qform is right");
  info.orientation = orientation_code(geometry.affine);
  if (!warn) return;
  if (has_sform && has_qform) warn_of_disagreement(geometry, qform(header, spacing), file, warn);
  if (!has_sform && !has_qform)
    warn(file.string() +
         ": sform_code and qform_code: found 0, expected one above 0; the pixel sizes alone place the image "
         "(x "
         "to the left, origin at the centre)");
  warn_of_tilt(geometry.affine, file, warn);
}

}  // namespace

void set_geometry(NiftiInfo& info, const RawHeader& raw, const std::filesystem::path& file,
                  const Warn& warn) {
  std::visit([&](const auto& header) { set_from(info, header, file, warn); }, raw);
}

}  // namespace vg::data
