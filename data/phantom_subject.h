// One phantom subject: four modalities and the label map.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "data/phantom_anatomy.h"
#include "data/phantom_lesion.h"
#include "data/volume.h"

namespace vg::data {

/// The modalities of a phantom, in the order of PhantomSubject's arrays, by their BraTS 2020 suffixes.
inline constexpr std::array<const char*, 4> phantom_modalities{"flair", "t1", "t1ce", "t2"};

/// The grid of BraTS 2018-2021: 240x240x155 voxels of 1 mm, i to the left, j to the back, k up. A larger
/// `voxel_size` gives fewer voxels over the same field of view.
Geometry phantom_geometry(double voxel_size = 1);

/// Voxels are kept for the box around the brain only; outside it everything is 0.
struct PhantomSubject {
  Geometry geometry;
  VoxelBox box;
  std::array<std::vector<float>, 4>
      intensities;              ///< whole numbers, by phantom_modalities; 0 outside the brain
  std::vector<uint8_t> labels;  ///< 0, 1, 2, 4

  Image image(size_t modality) const;
  LabelMap label_map() const;
};

/// Makes subject `index` of `seed`. The same arguments give the same voxels, whatever else was made before.
PhantomSubject make_phantom_subject(const Anatomy& anatomy, uint64_t seed, int64_t index,
                                    double voxel_size = 1);

}  // namespace vg::data
