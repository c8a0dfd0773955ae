#include "kernels/augment/volumes.h"

#include <cstdint>

#include "kernels/augment/volumes_impl.h"
#include "kernels/common/check_shape.h"

namespace vg::kernels {

namespace {

template <class T>
void require_volumes(const char* function, const char* name, const View<T>& v) {
  require(v.n > 0 && v.d > 0 && v.h > 0 && v.w > 0, function, ": ", name, " is [", v.n, ',', v.d, ',', v.h,
          ',', v.w, ',', v.c, "], expected at least one voxel");
  require(v.c == 1, function, ": ", name, " has ", v.c, " channels, expected 1");
  require(v.stride_w == 1 || v.w == 1, function, ": neighbours along W of ", name, " lie ", v.stride_w,
          " elements apart, expected 1");
}

}  // namespace

template <class T>
void check_volumes(const char* function, const View<T>& y, const View<const T>& x) {
  require_volumes(function, "the input", x);
  require_volumes(function, "the output", y);
  require_same_shape(function, y, x);
}

template void check_volumes(const char*, const View<float>&, const View<const float>&);
template void check_volumes(const char*, const View<uint8_t>&, const View<const uint8_t>&);

std::vector<VolumeStatistics> volume_statistics(View<const float> x, const Exec& exec) {
  require_volumes("volume_statistics", "the input", x);
  std::vector<VolumeStatistics> results(static_cast<size_t>(x.n));
  const auto run = [&] { VG_DISPATCH(exec, volume_statistics, results.data(), x, exec); };
  run();
  return results;
}

}  // namespace vg::kernels
