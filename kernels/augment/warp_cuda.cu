// A thread a voxel, which loads eight corners of four volumes at once and writes four rows.
#include "kernels/augment/warp_impl.h"
#include "kernels/common/launch.cuh"

namespace vg::kernels::cuda {

namespace {

/// Control points along W for each row of y, what the axes D and H contribute summed: [d, h][points W][3].
/// A thread an item.
__global__ void collapse_kernel(float* rows, TabulatedSpline spline, int64_t depth, int64_t height) {
  const int64_t row_floats = 3 * spline.points[2], plane_floats = spline.points[1] * row_floats;
  const int64_t index = thread_index(), row = index / row_floats;
  if (row >= depth * height) return;
  const SplineTaps &along_d = spline.taps[0][row / height], &along_h = spline.taps[1][row % height];
  const float* const points =
      spline.displacement + along_d.first * plane_floats + along_h.first * row_floats + index % row_floats;
  float sum = 0;
  for (int j = 0; j < 4; ++j) {
    for (int k = 0; k < 4; ++k)
      sum += along_d.weight[j] * along_h.weight[k] * points[j * plane_floats + k * row_floats];
  }
  rows[index] = sum;
}

/// As the CPU's table of places.
struct PlaceTable {
  Places places;
  const float* rows;  ///< of collapse_kernel; null without a spline
  int64_t height;

  /// The place of voxel w of row `row`, `offset` added.
  __device__ void locate(float (&place)[3], int64_t row, int64_t w, double offset) const {
    const auto d = static_cast<double>(row / height), h = static_cast<double>(row % height);
    for (int a = 0; a < 3; ++a) {
      const double(&m)[4] = places.matrix[a];
      const auto start = static_cast<float>(m[0] * d + m[1] * h + m[3] + offset);
      place[a] = start + static_cast<float>(w) * static_cast<float>(m[2]);
    }
    if (rows == nullptr) return;
    const SplineTaps& taps = places.spline.taps[2][w];
    const float* const control = rows + (row * places.spline.points[2] + taps.first) * 3;
    for (int a = 0; a < 3; ++a) {
      float displacement = 0;
      for (int k = 0; k < 4; ++k) displacement += taps.weight[k] * control[3 * k + a];
      place[a] += displacement;
    }
  }
};

template <class T>
PlaceTable make_table(const Places& places, const View<T>& y, WorkspaceScope& scope, const Exec& exec) {
  if (places.spline.displacement == nullptr) return {places, nullptr, y.h};
  const int64_t floats = y.d * y.h * places.spline.points[2] * 3;
  float* const rows = scope.allocate<float>(static_cast<size_t>(floats));
  collapse_kernel<<<blocks_for(floats), block_threads, 0, stream_of(exec)>>>(rows, places.spline, y.d, y.h);
  check_launch();
  return {places, rows, y.h};
}

__device__ inline float4 operator-(float4 a, float4 b) {
  return {a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w};
}
/// a + weight * (b - a).
__device__ inline float4 blend(float4 a, float4 b, float weight) {
  const float4 d = b - a;
  return {a.x + weight * d.x, a.y + weight * d.y, a.z + weight * d.z, a.w + weight * d.w};
}

// A thread a packed voxel.
__global__ void pack_kernel(View<float> packed, View<const float> x) {
  const int64_t i = thread_index();
  if (i >= packed.voxels()) return;
  const auto inner = [](int64_t k, int64_t extent) { return k == 0 ? 0 : (k > extent ? extent - 1 : k - 1); };
  const int64_t w = inner(i % packed.w, x.w), h = inner(i / packed.w % packed.h, x.h),
                d = inner(i / packed.w / packed.h % packed.d, x.d),
                group = i / packed.w / packed.h / packed.d;
  float values[volumes_a_group];
  for (int k = 0; k < volumes_a_group; ++k)
    values[k] = *x.at(min(group * volumes_a_group + k, x.n - 1), d, h, w);
  reinterpret_cast<float4*>(packed.data)[i] = {values[0], values[1], values[2], values[3]};
}

__global__ void warp_packed_kernel(View<float> y, View<const float> packed, PlaceTable table,
                                   const float* fill) {
  const int64_t i = thread_index(), w = i % y.w, row = i / y.w % (y.d * y.h), group = i / y.w / (y.d * y.h);
  if (group >= packed.n) return;
  float place[3], weight[3];
  table.locate(place, row, w, 1);
  const float limit[3] = {static_cast<float>(packed.d) - 1.5f, static_cast<float>(packed.h) - 1.5f,
                          static_cast<float>(packed.w) - 1.5f};
  bool inside = true;
  int lower[3];
  for (int a = 0; a < 3; ++a) {
    inside = inside && place[a] >= 0.5f && place[a] < limit[a];
    lower[a] = static_cast<int>(inside ? place[a] : 1.0f);
    weight[a] = place[a] - static_cast<float>(lower[a]);
  }
  const auto* const corner =
      reinterpret_cast<const float4*>(inside ? packed.at(group, lower[0], lower[1], lower[2]) : packed.data);
  const int64_t stride_d = packed.stride_d / volumes_a_group, stride_h = packed.stride_h / volumes_a_group;
  float4 neighbour[2];
  for (int k = 0; k < 2; ++k) {
    const float4* const c = corner + k;
    neighbour[k] = blend(blend(c[0], c[stride_h], weight[1]),
                         blend(c[stride_d], c[stride_d + stride_h], weight[1]), weight[0]);
  }
  const float4 value = blend(neighbour[0], neighbour[1], weight[2]);
  const float values[volumes_a_group] = {value.x, value.y, value.z, value.w};
  for (int k = 0; k < volumes_a_group; ++k) {
    const int64_t n = group * volumes_a_group + k;
    if (n < y.n) *y.at(n, row / y.h, row % y.h, w) = inside ? values[k] : fill[n];
  }
}

__global__ void warp_nearest_kernel(View<uint8_t> y, View<const uint8_t> x, PlaceTable table, uint8_t fill) {
  const int64_t i = thread_index(), w = i % y.w, row = i / y.w;
  if (row >= y.d * y.h) return;
  float place[3];
  table.locate(place, row, w, 0);
  const int64_t extent[3] = {x.d, x.h, x.w};
  bool inside = true;
  int64_t voxel[3];
  for (int a = 0; a < 3; ++a) {
    inside = inside && place[a] >= -0.5f && place[a] < static_cast<float>(extent[a]) - 0.5f;
    voxel[a] = min(static_cast<int64_t>((inside ? place[a] : 0.0f) + 0.5f), extent[a] - 1);
  }
  for (int64_t n = 0; n < y.n; ++n)
    *y.at(n, row / y.h, row % y.h, w) = inside ? *x.at(n, voxel[0], voxel[1], voxel[2]) : fill;
}

}  // namespace

void pack_volumes(View<float> packed, View<const float> x, const Exec& exec) {
  pack_kernel<<<blocks_for(packed.voxels()), block_threads, 0, stream_of(exec)>>>(packed, x);
  check_launch();
}

void warp_packed(View<float> y, View<const float> packed, const Places& places, const float* fill,
                 const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const PlaceTable table = make_table(places, y, scope, exec);
  warp_packed_kernel<<<blocks_for(packed.n * y.d * y.h * y.w), block_threads, 0, stream_of(exec)>>>(
      y, packed, table, fill);
  check_launch();
}

void warp_nearest(View<uint8_t> y, View<const uint8_t> x, const Places& places, uint8_t fill,
                  const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const PlaceTable table = make_table(places, y, scope, exec);
  warp_nearest_kernel<<<blocks_for(y.d * y.h * y.w), block_threads, 0, stream_of(exec)>>>(y, x, table, fill);
  check_launch();
}

}  // namespace vg::kernels::cuda
