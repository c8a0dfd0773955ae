// The brain from which phantoms are made: a skull-stripped T1 scan, or one drawn from formulas.
#pragma once

#include <array>
#include <filesystem>
#include <string>

#include "data/nifti_io.h"
#include "data/volume.h"

namespace vg::data {

/// The anatomy that Debian's package mricron-data installs: a T1 brain of 181x217x181 voxels of 1 mm,
/// skull-stripped.
inline constexpr const char* default_anatomy_file = "/usr/share/mricron/templates/ch2bet.nii.gz";

/// A T1-weighted brain without skull, and what is needed to sample it.
struct Anatomy {
  Image t1;                            ///< exactly 0 outside the brain and nowhere inside
  std::array<float, 3> class_means{};  ///< mean intensity of cerebrospinal fluid, grey matter, white matter
  std::array<double, 3> centre{};      ///< middle of the brain's bounding box, RAS mm
  std::array<double, 3> size{};        ///< extents of the brain's bounding box, mm
  std::string source;                  ///< file name or "procedural"
};

/// Reads a skull-stripped T1 brain. Throws DataError if the file is not one (nothing but background,
/// background that is not 0 at the border, or NaN).
Anatomy read_anatomy(const std::filesystem::path& file, const Warn& warn = {});

/// A brain of ellipsoids: folded cortex, deep grey matter, ventricles, cerebellum, fissure.
/// Drawn on voxels of `voxel_size` mm.
Anatomy procedural_anatomy(double voxel_size = 1);

/// The file if one is given; else the default file where it is installed, else (or if asked for) the
/// procedural brain, drawn no coarser than `voxel_size` and 2 mm.
Anatomy choose_anatomy(const std::filesystem::path& file, bool procedural, double voxel_size = 1,
                       const Warn& warn = {});

}  // namespace vg::data
