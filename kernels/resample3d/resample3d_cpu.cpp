// A row at a time: what the axes d and h contribute is a weighted sum of whole rows, which stays in a cache
// while the axis w is resampled.
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/resample3d/resample3d_impl.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// Calls body(offset in a dense row, offset in a row of `view`, floats) for the runs of contiguous floats.
template <class T, class Body>
VG_INLINE void for_each_run_of_row(const View<T>& view, const Body& body) {
  if (view.rows_contiguous()) return body(int64_t{0}, int64_t{0}, view.w * view.c);
  for (int64_t w = 0; w < view.w; ++w) body(w * view.c, w * view.stride_w, view.c);
}

// out[i] = sum over r of weights[r] * rows[r][i], each row being that of `view`; out is dense.
void blend_rows(float* out, const View<const float>& view, const float* const (&rows)[4],
                const float (&weights)[4]) {
  for_each_run_of_row(view, [&](int64_t dense, int64_t strided, int64_t count) {
    for (int64_t i = 0; i < count; i += lanes) {
      const int64_t left = count - i;
      Vec sum = weights[0] * load_up_to(rows[0] + strided + i, left);
      for (int r = 1; r < 4; ++r) sum += weights[r] * load_up_to(rows[r] + strided + i, left);
      store_up_to(out + dense + i, sum, left);
    }
  });
}

// out[i] += weight * row[i]; out is dense.
void add_row(float* out, const View<const float>& view, const float* row, float weight) {
  for_each_run_of_row(view, [&](int64_t dense, int64_t strided, int64_t count) {
    for (int64_t i = 0; i < count; i += lanes) {
      const int64_t left = count - i;
      const Vec sum = load_up_to(out + dense + i, left) + weight * load_up_to(row + strided + i, left);
      store_up_to(out + dense + i, sum, left);
    }
  });
}

// Calls body(row, scratch) for every row of `view`, in parallel; `scratch` holds `floats`.
template <class T, class Body>
void for_each_row(const View<T>& view, int64_t floats, const Exec& exec, const Body& body) {
  constexpr int64_t most_pieces = 128, smallest_piece = 8192;  // elements worth a thread
  const int64_t rows = view.rows(), rows_a_piece = 1 + smallest_piece / (view.w * view.c);
  const int64_t pieces = reduction_pieces(rows, rows_a_piece, most_pieces);
  WorkspaceScope scope(*exec.workspace);
  float* const scratch = scope.allocate<float>(static_cast<size_t>(pieces * floats));
  parallel_for(pieces, 1, [&](int64_t piece) {
    for (int64_t row = piece_begin(rows, pieces, piece); row < piece_begin(rows, pieces, piece + 1); ++row)
      body(row, scratch + piece * floats);
  });
}

void fill_tables(const ResampleTables& tables) {
  for (int64_t i = 0; i < tables.entries(); ++i) tables.fill(i);
}

void copy_nearest(const View<float>& y, const View<const float>& x, const ResampleTables& tables,
                  const Exec& exec) {
  const AxisSource *const of_d = tables.sources_of(0), *const of_h = tables.sources_of(1),
                          *const of_w = tables.sources_of(2);
  for_each_row(y, 0, exec, [&](int64_t row, float*) {
    const float* const in = x.at(row / y.h / y.d, of_d[row / y.h % y.d].lower, of_h[row % y.h].lower);
    float* const out = y.row(row);
    for (int64_t w = 0; w < y.w; ++w) {
      const float* const from = in + of_w[w].lower * x.stride_w;
      float* const to = out + w * y.stride_w;
      for (int64_t c = 0; c < y.c; c += lanes) store_up_to(to + c, load_up_to(from + c, y.c - c), y.c - c);
    }
  });
}

}  // namespace

void resample3d_forward(View<float> y, View<const float> x, const Resample3dParams& params,
                        const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const ResampleTables tables = ResampleTables::make(x, y, params, scope, false);
  fill_tables(tables);
  if (params.mode == ResampleMode::nearest) return copy_nearest(y, x, tables, exec);

  const AxisSource *const of_d = tables.sources_of(0), *const of_h = tables.sources_of(1),
                          *const of_w = tables.sources_of(2);
  for_each_row(y, x.w * x.c, exec, [&](int64_t row, float* blended) {
    const int64_t n = row / y.h / y.d;
    const AxisSource d = of_d[row / y.h % y.d], h = of_h[row % y.h];
    const float d1 = d.upper_weight, d0 = 1 - d1, h1 = h.upper_weight, h0 = 1 - h1;
    blend_rows(blended, x,
               {x.at(n, d.lower, h.lower), x.at(n, d.lower, h.upper), x.at(n, d.upper, h.lower),
                x.at(n, d.upper, h.upper)},
               {d0 * h0, d0 * h1, d1 * h0, d1 * h1});
    float* const out = y.row(row);
    for (int64_t w = 0; w < y.w; ++w) {
      const AxisSource s = of_w[w];
      const float *const lower = blended + s.lower * y.c, *const upper = blended + s.upper * y.c;
      for (int64_t c = 0; c < y.c; c += lanes) {
        const int64_t left = y.c - c;
        const Vec value =
            (1 - s.upper_weight) * load_up_to(lower + c, left) + s.upper_weight * load_up_to(upper + c, left);
        store_up_to(out + w * y.stride_w + c, value, left);
      }
    }
  });
}

void resample3d_backward(View<float> dx, View<const float> dy, const Resample3dParams& params,
                         const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const ResampleTables tables = ResampleTables::make(dx, dy, params, scope, true);
  fill_tables(tables);
  const AxisSource *const of_d = tables.sources_of(0), *const of_h = tables.sources_of(1),
                          *const of_w = tables.sources_of(2);
  const AxisOutputs *const to_d = tables.outputs_of(0), *const to_h = tables.outputs_of(1),
                           *const to_w = tables.outputs_of(2);
  for_each_row(dx, dy.w * dy.c, exec, [&](int64_t row, float* gathered) {
    const int64_t n = row / dx.h / dx.d, d = row / dx.h % dx.d, h = row % dx.h;
    std::memset(gathered, 0, static_cast<size_t>(dy.w * dy.c) * sizeof(float));
    for (int64_t od = to_d[d].begin; od < to_d[d].end; ++od) {
      for (int64_t oh = to_h[h].begin; oh < to_h[h].end; ++oh)
        add_row(gathered, dy, dy.at(n, od, oh), of_d[od].weight(d) * of_h[oh].weight(h));
    }
    float* const out = dx.row(row);
    for (int64_t w = 0; w < dx.w; ++w) {
      for (int64_t c = 0; c < dx.c; c += lanes) {
        const int64_t left = dx.c - c;
        Vec sum{};
        for (int64_t ow = to_w[w].begin; ow < to_w[w].end; ++ow)
          sum += of_w[ow].weight(w) * load_up_to(gathered + ow * dx.c + c, left);
        store_up_to(out + w * dx.stride_w + c, sum, left);
      }
    }
  });
}

}  // namespace vg::kernels::cpu::VG_ISA
