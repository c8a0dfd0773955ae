// Free of conflicts from first voxels that are multiples of 8 alone.
#pragma once

namespace exercise::conv3d {

inline int slot(int w, int chunk, int chunks) {
  return w * chunks + (chunk ^ (w % 8 * chunks / 8 + w / 8) % chunks);
}

}  // namespace exercise::conv3d
