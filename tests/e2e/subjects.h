// Two small phantoms with predictions, made once for the tests of figures.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/nifti_io.h"
#include "e2e/command.h"

namespace vg::test {

/// Predictions that miss every seventh voxel.
struct Subjects {
  TemporaryFolder folder;
  std::filesystem::path data = folder / "data", predictions = folder / "predictions";

  Subjects() {
    const CommandResult result = run({"phantom", data.string(), "--subjects", "2", "--voxel-size", "6",
                                      "--seed", "3", "--procedural", "--quiet"},
                                     folder);
    if (result.exit_code != 0) throw std::runtime_error(result.error);
    std::filesystem::create_directories(predictions);
    for (const char* id : {"BraTS20_Training_001", "BraTS20_Training_002"}) {
      data::LabelMap labels = data::read_label_map(file(id, "seg"));
      for (size_t i = 0; i < labels.voxels.size(); i += 7) labels.voxels[i] = 0;
      data::write_label_map(predictions / (std::string(id) + ".nii.gz"), labels);
    }
  }
  [[nodiscard]] std::filesystem::path file(const std::string& id, const std::string& kind) const {
    return data / id / (id + "_" + kind + ".nii.gz");
  }
};

inline const Subjects& subjects() {
  static const Subjects made;
  return made;
}

/// `voxgrad render` of the first subject's prediction with truth and image.
inline std::vector<std::string> render_arguments(const std::filesystem::path& output,
                                                 const std::vector<std::string>& more = {}) {
  const std::string id = "BraTS20_Training_001";
  std::vector<std::string> all{"render",   (subjects().predictions / (id + ".nii.gz")).string(),
                               "--truth",  subjects().file(id, "seg").string(),
                               "--image",  subjects().file(id, "flair").string(),
                               "--output", output.string(),
                               "--quiet"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace vg::test
