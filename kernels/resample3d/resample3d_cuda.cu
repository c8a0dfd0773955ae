// One thread an element of the result, channels fastest: neighbouring threads read and write neighbouring
// channels. The tables of the axes are made by a kernel before, so that no thread divides 64-bit integers.
#include "kernels/common/launch.cuh"
#include "kernels/resample3d/resample3d_impl.h"

namespace vg::kernels::cuda {

namespace {

__global__ void fill_tables_kernel(ResampleTables tables) {
  const int64_t i = thread_index();
  if (i < tables.entries()) tables.fill(i);
}

void fill_tables(const ResampleTables& tables, const Exec& exec) {
  fill_tables_kernel<<<blocks_for(tables.entries()), block_threads, 0, stream_of(exec)>>>(tables);
  check_launch();
}

struct ElementIndex {
  int64_t n, d, h, w, c;

  template <class T>
  __device__ ElementIndex(const View<T>& view, int64_t element)
      : n(element / view.c / view.w / view.h / view.d),
        d(element / view.c / view.w / view.h % view.d),
        h(element / view.c / view.w % view.h),
        w(element / view.c % view.w),
        c(element % view.c) {}
};

__global__ void nearest_kernel(View<float> y, View<const float> x, ResampleTables tables) {
  const int64_t i = thread_index();
  if (i >= y.elements()) return;
  const ElementIndex at(y, i);
  y.at(at.n, at.d, at.h, at.w)[at.c] =
      x.at(at.n, tables.sources_of(0)[at.d].lower, tables.sources_of(1)[at.h].lower,
           tables.sources_of(2)[at.w].lower)[at.c];
}

__global__ void trilinear_kernel(View<float> y, View<const float> x, ResampleTables tables) {
  const int64_t i = thread_index();
  if (i >= y.elements()) return;
  const ElementIndex at(y, i);
  const AxisSource d = tables.sources_of(0)[at.d], h = tables.sources_of(1)[at.h],
                   w = tables.sources_of(2)[at.w];
  const float w1 = w.upper_weight, w0 = 1 - w1, h1 = h.upper_weight, h0 = 1 - h1;
  const auto along_w = [&](int64_t id, int64_t ih) {
    const float* const row = x.at(at.n, id, ih) + at.c;
    return w0 * row[w.lower * x.stride_w] + w1 * row[w.upper * x.stride_w];
  };
  const auto along_h = [&](int64_t id) { return h0 * along_w(id, h.lower) + h1 * along_w(id, h.upper); };
  y.at(at.n, at.d, at.h, at.w)[at.c] =
      (1 - d.upper_weight) * along_h(d.lower) + d.upper_weight * along_h(d.upper);
}

__global__ void backward_kernel(View<float> dx, View<const float> dy, ResampleTables tables) {
  const int64_t i = thread_index();
  if (i >= dx.elements()) return;
  const ElementIndex at(dx, i);
  const AxisSource *const of_d = tables.sources_of(0), *const of_h = tables.sources_of(1),
                          *const of_w = tables.sources_of(2);
  const AxisOutputs d = tables.outputs_of(0)[at.d], h = tables.outputs_of(1)[at.h],
                    w = tables.outputs_of(2)[at.w];
  float sum = 0;
  for (int64_t od = d.begin; od < d.end; ++od) {
    for (int64_t oh = h.begin; oh < h.end; ++oh) {
      const float* const row = dy.at(at.n, od, oh) + at.c;
      float along_w = 0;
      for (int64_t ow = w.begin; ow < w.end; ++ow) along_w += of_w[ow].weight(at.w) * row[ow * dy.stride_w];
      sum += of_d[od].weight(at.d) * of_h[oh].weight(at.h) * along_w;
    }
  }
  dx.at(at.n, at.d, at.h, at.w)[at.c] = sum;
}

}  // namespace

void resample3d_forward(View<float> y, View<const float> x, const Resample3dParams& params,
                        const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const ResampleTables tables = ResampleTables::make(x, y, params, scope, false);
  fill_tables(tables, exec);
  if (params.mode == ResampleMode::nearest) {
    nearest_kernel<<<blocks_for(y.elements()), block_threads, 0, stream_of(exec)>>>(y, x, tables);
  } else {
    trilinear_kernel<<<blocks_for(y.elements()), block_threads, 0, stream_of(exec)>>>(y, x, tables);
  }
  check_launch();
}

void resample3d_backward(View<float> dx, View<const float> dy, const Resample3dParams& params,
                         const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const ResampleTables tables = ResampleTables::make(dx, dy, params, scope, true);
  fill_tables(tables, exec);
  backward_kernel<<<blocks_for(dx.elements()), block_threads, 0, stream_of(exec)>>>(dx, dy, tables);
  check_launch();
}

}  // namespace vg::kernels::cuda
