// Tumours of the phantom: irregular blobs with necrotic core, enhancing rim and oedema that follows white
// matter.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "data/phantom_noise.h"
#include "data/volume.h"

namespace vg::data {

/// A box of voxels inside a larger volume: voxels [begin, begin + extent), i fastest.
struct VoxelBox {
  std::array<int64_t, 3> begin{}, extent{};
  int64_t voxels() const { return extent[0] * extent[1] * extent[2]; }
  /// i, j, k in the larger volume.
  int64_t index(int64_t i, int64_t j, int64_t k) const {
    return (i - begin[0]) + extent[0] * ((j - begin[1]) + extent[1] * (k - begin[2]));
  }
  bool contains(int64_t i, int64_t j, int64_t k) const {
    return i >= begin[0] && i < begin[0] + extent[0] && j >= begin[1] && j < begin[1] + extent[1] &&
           k >= begin[2] && k < begin[2] + extent[2];
  }
};

/// The voxels at most `reach` voxels from `centre` along every axis, cut to `within`.
VoxelBox box_around(const std::array<int64_t, 3>& centre, int64_t reach, const VoxelBox& within);

/// Shares of fluid, grey and white matter in a voxel; they add up to 1.
struct TissueShares {
  float fluid, grey, white;
};

/// The T1 value of each voxel of a box (< 0 outside the brain), with the class means that turn it into
/// tissue.
struct TissueMap {
  VoxelBox box;
  double voxel_size = 1;
  std::array<float, 3> class_means{};
  std::vector<float> t1;

  bool inside(int64_t i, int64_t j, int64_t k) const {
    return box.contains(i, j, k) && t1[box.index(i, j, k)] >= 0;
  }
  /// Linear between the class means: a value half way between two classes is half of each.
  TissueShares shares(float value) const;
};

/// What is drawn for one tumour. Lengths in mm.
struct LesionPlan {
  std::array<int64_t, 3> centre{};        ///< voxel
  std::array<float, 3> stretch{1, 1, 1};  ///< of the core along i, j, k
  float oedema_radius = 25, core_radius = 14, rim_thickness = 3;
  bool has_rim = true, has_necrosis = true;
};

/// Signed distances in mm, about, positive inside: `oedema` of the whole tumour, `core` of the tumour core,
/// `rim` of the enhancing rim (positive near the core's surface).
struct LesionMap {
  VoxelBox box;
  std::vector<float> oedema, core, rim;
};

/// Draws centre (in white matter of the upper brain) and sizes.
LesionPlan plan_lesion(const TissueMap& tissue, PhantomRandom& random);

/// Grows the tumour. The oedema's front runs by Dijkstra's method through white matter, slowly through grey
/// matter and hardly through fluid; both fronts are made irregular by smooth noise. `part` separates the
/// noise of several tumours of a subject.
LesionMap grow_lesion(const LesionPlan& plan, const TissueMap& tissue, uint64_t seed, int64_t subject,
                      uint32_t part);

/// BraTS 2020 labels: 0 none, 1 necrotic core, 2 oedema, 4 enhancing tumour.
uint8_t lesion_label(const LesionMap& map, int64_t index);

}  // namespace vg::data
