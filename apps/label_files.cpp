#include "apps/label_files.h"

#include <stdexcept>

namespace vg::apps {

namespace fs = std::filesystem;

std::string nifti_stem(const std::string& name) {
  for (const std::string ending : {".nii.gz", ".nii"}) {
    if (name.ends_with(ending)) return name.substr(0, name.size() - ending.size());
  }
  return "";
}

std::map<std::string, fs::path> label_files(const fs::path& folder, const std::string& suffix) {
  if (!fs::is_directory(folder)) throw std::runtime_error(folder.string() + ": not a folder; check the path");
  std::map<std::string, fs::path> files;
  const auto add = [&](const fs::path& path) {
    const std::string stem = nifti_stem(path.filename().string());
    if (stem.size() > suffix.size() && stem.ends_with(suffix))
      files.emplace(stem.substr(0, stem.size() - suffix.size()), path);
  };
  if (suffix.empty()) {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) add(entry.path());
  } else {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) add(entry.path());
  }
  return files;
}

std::map<std::string, fs::path> prediction_files(const fs::path& folder) {
  auto files = label_files(folder, "");
  std::erase_if(files, [](const auto& file) { return file.first.find("_class") != std::string::npos; });
  if (files.empty()) throw std::runtime_error(folder.string() + ": holds no label maps (.nii, .nii.gz)");
  return files;
}

}  // namespace vg::apps
