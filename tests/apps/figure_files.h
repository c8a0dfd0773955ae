// A small subject with voxels at known places in the patient.
#pragma once

#include <filesystem>
#include <string>

#include "apps/figure_subject.h"
#include "data/nifti_io.h"
#include "data/transforms.h"
#include "support/temporary_folder.h"

namespace vg::apps::test {

/// 6 x 5 x 4 voxels of 1 x 1 x 2 mm, axes as in BraTS: to the left, to the back, to the head.
inline data::Geometry brats_geometry() {
  return {{6, 5, 4}, {{{-1, 0, 0, 0}, {0, -1, 0, 4}, {0, 0, 2, 0}}}};
}

struct Mark {
  int64_t i, j, k;
  uint8_t value;
};

inline data::LabelMap label_map(const data::Geometry& geometry, std::initializer_list<Mark> marks) {
  data::LabelMap map{geometry, std::vector<uint8_t>(static_cast<size_t>(geometry.voxels()))};
  for (const Mark& mark : marks)
    map.voxels[static_cast<size_t>(geometry.index(mark.i, mark.j, mark.k))] = mark.value;
  return map;
}

/// Writes prediction, truth and image files of a subject "a".
struct FigureFixture {
  FigureFixture(const data::LabelMap& prediction, const data::LabelMap& truth, const data::Image& image) {
    data::write_label_map(files.prediction, prediction);
    data::write_label_map(*files.truth, truth);
    data::write_image(*files.image, image);
  }
  [[nodiscard]] FigureSubject load(SliceAxis axis = SliceAxis::axial) const {
    return load_figure_subject(files, axis, data::brats_edition(2020).schema, {});
  }

  vg::test::TemporaryFolder folder;
  FigureFiles files{"a", folder / "a.nii.gz", folder / "a_seg.nii.gz", folder / "a_flair.nii.gz"};
};

/// The patient's right half bright, the left half dark.
inline data::Image bright_right(const data::Geometry& geometry) {
  data::Image image{geometry, std::vector<float>(static_cast<size_t>(geometry.voxels()))};
  for (int64_t k = 0; k < geometry.extent[2]; ++k) {
    for (int64_t j = 0; j < geometry.extent[1]; ++j) {
      for (int64_t i = 0; i < geometry.extent[0] / 2; ++i)
        image.voxels[static_cast<size_t>(geometry.index(i, j, k))] = 1000;
    }
  }
  return image;
}

}  // namespace vg::apps::test
