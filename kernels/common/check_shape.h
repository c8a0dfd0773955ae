// Checks of the shapes of views.
#pragma once

#include "kernels/common/check.h"
#include "kernels/common/view.h"

namespace vg::kernels {

/// Throws std::invalid_argument unless both views have the same extents.
template <class T, class U>
void require_same_shape(const char* function, const View<T>& a, const View<U>& b) {
  require(a.same_shape(b), function, ": shapes differ: [", a.n, ',', a.d, ',', a.h, ',', a.w, ',', a.c,
          "] and [", b.n, ',', b.d, ',', b.h, ',', b.w, ',', b.c, ']');
}

/// Throws std::invalid_argument unless both views have the same extents but for the channels.
template <class T, class U>
void require_same_voxels(const char* function, const View<T>& a, const View<U>& b) {
  require(a.same_voxels(b), function, ": voxels differ: [", a.n, ',', a.d, ',', a.h, ',', a.w, "] and [", b.n,
          ',', b.d, ',', b.h, ',', b.w, ']');
}

}  // namespace vg::kernels
