#include "kernels/resample3d/resample3d.h"

#include <algorithm>

#include "kernels/resample3d/resample3d_impl.h"

namespace vg::kernels {

namespace {

template <class T, class U>
void check(const char* function, const View<T>& in, const View<U>& out) {
  require(in.n == out.n && in.c == out.c, function, ": input and output have ", in.n, " and ", out.n,
          " samples, ", in.c, " and ", out.c, " channels, expected equal ones");
  const int64_t longest = std::max({in.d, in.h, in.w, out.d, out.h, out.w});
  require(in.elements() > 0 && out.elements() > 0 && longest < int64_t{1} << 31, function, ": extents [",
          in.d, ',', in.h, ',', in.w, "] and [", out.d, ',', out.h, ',', out.w,
          "], expected at least 1 and less than 2^31");
}

}  // namespace

void resample3d_forward(View<float> y, View<const float> x, const Resample3dParams& params,
                        const Exec& exec) {
  check("resample3d_forward", x, y);
  VG_DISPATCH(exec, resample3d_forward, y, x, params, exec);
}

void resample3d_forward(View<bfloat16> y, View<const bfloat16> x, const Resample3dParams& params,
                        const Exec& exec) {
  check("resample3d_forward", x, y);
  VG_DISPATCH_CUDA(exec, resample3d_forward, y, x, params, exec);
}

void resample3d_backward(View<float> dx, View<const float> dy, const Resample3dParams& params,
                         const Exec& exec) {
  check("resample3d_backward", dx, dy);
  VG_DISPATCH(exec, resample3d_backward, dx, dy, params, exec);
}

void resample3d_backward(View<bfloat16> dx, View<const bfloat16> dy, const Resample3dParams& params,
                         const Exec& exec) {
  check("resample3d_backward", dx, dy);
  VG_DISPATCH_CUDA(exec, resample3d_backward, dx, dy, params, exec);
}

}  // namespace vg::kernels
