// Label maps in folders, by the subject's id.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace vg::apps {

/// "BraTS20_Training_001.nii.gz" -> "BraTS20_Training_001"; empty for names that do not end in .nii or
/// .nii.gz.
std::string nifti_stem(const std::string& name);

/// Label maps of a folder by id. With a suffix ("_seg") only files that have it, at any depth, and without it
/// in the id. Throws std::runtime_error if it is no folder.
std::map<std::string, std::filesystem::path> label_files(const std::filesystem::path& folder,
                                                         const std::string& suffix);

/// The predictions ID.nii.gz in a folder, without the probability maps (ID_classN) beside them. Throws
/// std::runtime_error if there are none.
std::map<std::string, std::filesystem::path> prediction_files(const std::filesystem::path& folder);

/// "3x4x5".
template <class Extent>
std::string extent_text(const Extent& extent) {
  return std::to_string(extent[0]) + "x" + std::to_string(extent[1]) + "x" + std::to_string(extent[2]);
}

}  // namespace vg::apps
