// NIfTI headers of both versions: parsing, validation, and the form kept for writing. Internal to nifti_io.
#pragma once

#include <nifti2_io.h>

#include <filesystem>
#include <variant>

#include "data/byte_source.h"
#include "data/nifti_io.h"

namespace vg::data {

/// A header as in the file, in this machine's byte order.
using RawHeader = std::variant<nifti_1_header, nifti_2_header>;

/// A validated header and where its voxels are.
struct ParsedHeader {
  RawHeader raw;
  NiftiInfo info;
  int datatype = 0;         ///< a DT_ code that read_voxels can convert
  int bytes_per_voxel = 0;  ///< as the datatype says, not bitpix
  uint64_t data_offset = 0;
  int64_t voxels = 0;  ///< product of all extents
};

/// Reads the header from the front of `source` and checks every field that voxels or geometry depend on;
/// compares the sizes it declares with the size of the file. Nothing that the header declares is allocated.
/// Throws DataError.
ParsedHeader parse_header(ByteSource& source, const std::filesystem::path& file, const Warn& warn);

/// The affine of a header with its source's name; see nifti_affine.cpp for the precedence. Warns of fields
/// that are derived or contradict each other. Throws DataError for a singular or non-finite affine.
void set_geometry(NiftiInfo& info, const RawHeader& raw, const std::filesystem::path& file, const Warn& warn);

class NiftiTemplate {
 public:
  RawHeader raw;
  Geometry geometry;
};

}  // namespace vg::data
