// Reading and writing NIfTI-1 and NIfTI-2 files (.nii, .nii.gz), on NIfTI-C. Headers are validated before
// anything is allocated.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/error.h"
#include "data/volume.h"

namespace vg::data {

/// What a header says, after validation.
struct NiftiInfo {
  int version = 1;               ///< 1 or 2
  std::vector<int64_t> extents;  ///< as many as dim[0]
  std::string datatype;          ///< NIfTI-C's name, e.g. "INT16"
  int bits_per_voxel = 0;
  double slope = 1, intercept = 0;  ///< 1 and 0 where the header asks for no scaling (0 or NaN)
  bool byte_swapped = false;
  bool compressed = false;
  Geometry geometry;             ///< the first three axes
  std::string transform_source;  ///< "sform", "qform" or "pixdim": which field the affine was taken from
  std::string orientation;       ///< e.g. "RAS"
};

/// Reads and validates the header alone. Throws DataError.
NiftiInfo read_nifti_info(const std::filesystem::path& file, const Warn& warn = {});

/// Reads a 3D image with its scaling applied; a trailing axis of extent 1 is dropped. NaN and infinite voxels
/// are kept (see count_nonfinite). Throws DataError.
Image read_image(const std::filesystem::path& file, const Warn& warn = {});

/// Reads the volumes of a 4D file, e.g. the four modalities of a Medical Segmentation Decathlon subject: one
/// image per index of the fourth axis. A 3D file is an error naming the layout. Throws DataError.
std::vector<Image> read_image_series(const std::filesystem::path& file, const Warn& warn = {});

/// Reads a 3D label map: values, after scaling, must be whole (within 1e-3) and in 0..255. Throws DataError,
/// naming the values found with their counts.
LabelMap read_label_map(const std::filesystem::path& file, const Warn& warn = {});

/// The header of an existing file, kept to write results that match it in every field but datatype and
/// scaling.
class NiftiTemplate;
std::shared_ptr<const NiftiTemplate> read_nifti_template(const std::filesystem::path& file);

/// Writes int16 (labels: uint8) or float32 voxels; ".nii.gz" compresses. With a template its header (qform,
/// sform, units, descrip) is reused; else sform and qform are set from the geometry. The file is written
/// beside its destination and renamed into place. Throws DataError if the file cannot be written.
enum class VoxelType : uint8_t { uint8, int16, float32 };
void write_image(const std::filesystem::path& file, const Image& image, VoxelType type = VoxelType::float32,
                 const std::shared_ptr<const NiftiTemplate>& like = nullptr);
void write_label_map(const std::filesystem::path& file, const LabelMap& labels,
                     const std::shared_ptr<const NiftiTemplate>& like = nullptr);

}  // namespace vg::data
