#pragma once

namespace exercise::conv3d {

// Voxels that lie 8 slots apart would meet: w and w + 4 with 2 chunks, w and w + 2 with 4, all with 8. So
// chunks are permuted by the number of the group of 8 slots that the voxel is in; exclusive or permutes, and
// never leaves the voxel.
inline int slot(int w, int chunk, int chunks) {
  const int group = w * chunks / 8;
  return w * chunks + (chunk ^ (group % chunks));
}

}  // namespace exercise::conv3d
