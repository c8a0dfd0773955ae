// A thread an element of y.
#include "kernels/augment/flip_impl.h"
#include "kernels/common/launch.cuh"

namespace vg::kernels::cuda {

namespace {

template <class T>
__global__ void flip_kernel(View<T> y, View<const T> x, bool along_d, bool along_h, bool along_w) {
  const int64_t i = thread_index();
  if (i >= y.elements()) return;
  const int64_t w = i % y.w, row = i / y.w, h = row % y.h, d = row / y.h % y.d, n = row / y.h / y.d;
  *y.at(n, d, h, w) =
      *x.at(n, along_d ? y.d - 1 - d : d, along_h ? y.h - 1 - h : h, along_w ? y.w - 1 - w : w);
}

template <class T>
void launch_flip(const View<T>& y, const View<const T>& x, bool along_d, bool along_h, bool along_w,
                 const Exec& exec) {
  flip_kernel<<<blocks_for(y.elements()), block_threads, 0, stream_of(exec)>>>(y, x, along_d, along_h,
                                                                               along_w);
  check_launch();
}

}  // namespace

void flip(View<float> y, View<const float> x, bool along_d, bool along_h, bool along_w, const Exec& exec) {
  launch_flip(y, x, along_d, along_h, along_w, exec);
}

void flip(View<uint8_t> y, View<const uint8_t> x, bool along_d, bool along_h, bool along_w,
          const Exec& exec) {
  launch_flip(y, x, along_d, along_h, along_w, exec);
}

}  // namespace vg::kernels::cuda
