// A product of matrices, factors[p][j] times columns[j][q], in tiles of 32 x 32 through shared memory; q runs
// along W of the output, so that a warp writes neighbours. Along D and H the factors are the matrix and the
// columns are x (one product for each row of the other axis); along W the factors are the rows of x and the
// columns the matrix turned round.
#include "kernels/augment/axis_filter_impl.h"
#include "kernels/common/launch.cuh"

namespace vg::kernels::cuda {

namespace {

constexpr int tile = 32;
// Threads of a block: a warp's lanes are columns, and each thread sums four rows of the tile, so that one
// load of a column serves four products.
constexpr int rows_at_once = 8, rows_a_thread = tile / rows_at_once;

struct Product {
  View<float> y;
  View<const float> x;
  const float* matrix;
  int axis;
  bool accumulate;
  int64_t length, rows, columns;  // extents of one product

  // Element (row, column) of product `plane`.
  template <class T>
  __device__ T* at(const View<T>& v, int64_t plane, int64_t row, int64_t column) const {
    if (axis == 2) return v.row(row) + column;
    if (axis == 1) return v.at(plane / v.d, plane % v.d, row, column);
    return v.at(plane / v.h, row, plane % v.h, column);
  }
};

__global__ void axis_filter_kernel(const __grid_constant__ Product p, int64_t tiles_of_rows,
                                   int64_t tiles_of_columns) {
  // One column more than is used: threads that walk down a column then hit different banks.
  __shared__ float factors[tile][tile + 1], columns[tile][tile + 1];
  const int lane = static_cast<int>(threadIdx.x), line = static_cast<int>(threadIdx.y);
  const int64_t first_column = blockIdx.x % tiles_of_columns * tile,
                first_row = blockIdx.x / tiles_of_columns % tiles_of_rows * tile,
                plane = blockIdx.x / tiles_of_columns / tiles_of_rows;
  float sum[rows_a_thread] = {};
  for (int64_t first = 0; first < p.length; first += tile) {
    __syncthreads();  // the previous tile's readers are done
    for (int i = line; i < tile; i += rows_at_once) {
      const int64_t row = first_row + i, input = first + lane;
      const bool inside = row < p.rows && input < p.length;
      if (p.axis == 2) {
        const int64_t output = first_column + i;
        factors[i][lane] = inside ? *p.at(p.x, plane, row, input) : 0.0f;
        columns[lane][i] = output < p.length && input < p.length ? p.matrix[output * p.length + input] : 0.0f;
      } else {
        const int64_t column = first_column + lane;
        factors[i][lane] = inside ? p.matrix[row * p.length + input] : 0.0f;
        columns[i][lane] =
            first + i < p.length && column < p.columns ? *p.at(p.x, plane, first + i, column) : 0.0f;
      }
    }
    __syncthreads();
    for (int j = 0; j < tile; ++j) {
      const float value = columns[j][lane];
      for (int r = 0; r < rows_a_thread; ++r)
        sum[r] = fmaf(factors[line + r * rows_at_once][j], value, sum[r]);
    }
  }
  for (int r = 0; r < rows_a_thread; ++r) {
    const int64_t row = first_row + line + r * rows_at_once, column = first_column + lane;
    if (row >= p.rows || column >= p.columns) continue;
    float* const out = p.at(p.y, plane, row, column);
    *out = p.accumulate ? *out + sum[r] : sum[r];
  }
}

}  // namespace

void axis_filter(View<float> y, View<const float> x, const float* matrix, int axis, bool accumulate,
                 const Exec& exec) {
  const int64_t length = axis == 0 ? x.d : axis == 1 ? x.h : x.w;
  WorkspaceScope scope(*exec.workspace);
  float* const on_device = scope.allocate<float>(static_cast<size_t>(length * length));
  copy_memory(on_device, DeviceKind::cuda, matrix, DeviceKind::cpu,
              static_cast<size_t>(length * length) * sizeof(float), exec.stream);
  const int64_t rows = axis == 2 ? x.rows() : length, planes = x.rows() / (axis == 2 ? x.rows() : length);
  const Product product{y, x, on_device, axis, accumulate, length, rows, x.w};
  const int64_t tiles_of_rows = (rows + tile - 1) / tile, tiles_of_columns = (x.w + tile - 1) / tile;
  const auto blocks = static_cast<unsigned>(planes * tiles_of_rows * tiles_of_columns);
  axis_filter_kernel<<<blocks, dim3(tile, rows_at_once), 0, stream_of(exec)>>>(product, tiles_of_rows,
                                                                               tiles_of_columns);
  check_launch();
}

}  // namespace vg::kernels::cuda
