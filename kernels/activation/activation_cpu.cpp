#include "kernels/activation/activation_impl.h"
#include "kernels/activation/activation_vectors.h"
#include "kernels/common/channel_blocks.h"
#include "kernels/common/map.h"
#include "kernels/common/simd_math.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

void prelu_forward(View<float> y, View<const float> x, const float* slope, int64_t slope_count) {
  for_each_segment(y, [&](int64_t row, int64_t first, int64_t voxels) {
    for_each_strip(voxels, [&](int64_t begin, int64_t count) {
      for_each_block(y.c, [&](auto block, int64_t c) {
        const Vec a = load_slopes(block, slope, slope_count, c);
        const float* in = pointer(x, row, first + begin) + c;
        float* out = pointer(y, row, first + begin) + c;
        for (int64_t i = 0; i < count; ++i, in += x.stride_w, out += y.stride_w)
          block.store(out, Leaky::value(block.load(in), a));
      });
    });
  });
}

// One pass: dx and, per channel, the sum of dy * min(x, 0).
void prelu_backward(View<float> dx, float* dslope, View<const float> dy, View<const float> x,
                    const float* slope, int64_t slope_count, Workspace& workspace) {
  WorkspaceScope scope(workspace);
  double* const sums = scope.allocate<double>(static_cast<size_t>(x.c));
  sum_rows(sums, 1, x.rows(), x.c, 0, workspace, [&](int64_t row, double* row_sums, float*) {
    for_each_strip(x.w, [&](int64_t begin, int64_t count) {
      for_each_block(x.c, [&](auto block, int64_t c) {
        const Vec a = load_slopes(block, slope, slope_count, c);
        Vec sum{};
        for (int64_t w = begin; w < begin + count; ++w) {
          const Vec gradient = block.load(pointer(dy, row, w) + c),
                    value = block.load(pointer(x, row, w) + c);
          sum += value <= 0.0f ? gradient * value : Vec{};
          block.store(pointer(dx, row, w) + c, Leaky::gradient(gradient, value, a));
        }
        add_to(row_sums + c, sum, block);
      });
    });
  });
  if (slope_count == 1) {
    double sum = 0;
    for (int64_t c = 0; c < x.c; ++c) sum += sums[c];
    dslope[0] += static_cast<float>(sum);
  } else {
    for (int64_t c = 0; c < x.c; ++c) dslope[c] += static_cast<float>(sums[c]);
  }
}

}  // namespace

void activation_forward(View<float> y, View<const float> x, const float* slope,
                        const ActivationParams& params, const Exec&) {
  switch (params.kind) {
    case ActivationKind::identity:
      return map_vectors([](Vec v) { return v; }, y, x);
    case ActivationKind::relu:
      return map_vectors([](Vec v) { return Relu::value(v, v); }, y, x);
    case ActivationKind::leaky_relu: {
      const Vec a = broadcast(params.negative_slope);
      return map_vectors([a](Vec v) { return Leaky::value(v, a); }, y, x);
    }
    case ActivationKind::prelu:
      return prelu_forward(y, x, slope, params.slope_count);
    case ActivationKind::sigmoid:
      return map_vectors([](Vec v) { return sigmoid(v); }, y, x);
  }
}

void activation_backward(View<float> dx, float* dslope, View<const float> dy, View<const float> x,
                         const float* slope, const ActivationParams& params, const Exec& exec) {
  switch (params.kind) {
    case ActivationKind::identity:
      return map_vectors([](Vec g) { return g; }, dx, dy);
    case ActivationKind::relu:
      return map_vectors([](Vec g, Vec v) { return Relu::gradient(g, v, v); }, dx, dy, x);
    case ActivationKind::leaky_relu: {
      const Vec a = broadcast(params.negative_slope);
      return map_vectors([a](Vec g, Vec v) { return Leaky::gradient(g, v, a); }, dx, dy, x);
    }
    case ActivationKind::prelu:
      return prelu_backward(dx, dslope, dy, x, slope, params.slope_count, *exec.workspace);
    case ActivationKind::sigmoid:
      return map_vectors(
          [](Vec g, Vec v) {
            const Vec s = sigmoid(v);
            return g * s * (1.0f - s);
          },
          dx, dy, x);
  }
}

}  // namespace vg::kernels::cpu::VG_ISA
