// Exercise: a layout in shared memory without bank conflicts. Page: kernels/conv3d/README.md, "Tensor cores".
#pragma once

#include "exercises/support/not_solved.h"

namespace exercise::conv3d {

/// Where chunk `chunk` of voxel `w` of a row lies in shared memory, in units of 16 bytes from the row's
/// start. A voxel has `chunks` = 2, 4 or 8 chunks: 16, 32 or 64 channels of bfloat16.
///
/// `ldmatrix` reads, for one chunk, the 16 bytes of eight neighbouring voxels w, w + 1, .., w + 7 at once.
/// Shared memory has 32 banks of 4 bytes, so eight slots of 16 bytes are served in one go if they differ mod
/// 8, and one after the other where they don't. With slot = w * chunks + chunk, eight voxels of 64 channels
/// lie all in the same banks.
///
/// Solved when: no two chunks share a slot, voxel w keeps to slots w * chunks .. w * chunks + chunks - 1 (so
/// that it can be copied as one run), and eight neighbouring voxels are free of conflicts from any first
/// voxel.
inline int slot(int w, int chunk, int chunks) {
  not_solved();
}

}  // namespace exercise::conv3d
