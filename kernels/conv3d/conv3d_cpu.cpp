// Each direction takes the first algorithm of its list that applies.
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/conv3d/conv3d_impl.h"
#include "kernels/conv3d/conv3d_method.h"
#include "kernels/conv3d/conv3d_passes_cpu.h"
#include "kernels/conv3d/conv3d_winograd_cpu.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// The voxels that a 1x1x1 convolution with a stride reads: it is one of stride 1 on them.
template <class T>
View<T> every_nth_voxel(View<T> x, const View<const float>& y, int stride) {
  x.d = y.d, x.h = y.h, x.w = y.w;
  x.stride_d *= stride, x.stride_h *= stride, x.stride_w *= stride;
  if (stride != 1) x.halo = 0;
  return x;
}

void fill_zero(const View<float>& y) {
  parallel_for(y.rows(), 8, [&](int64_t row) {
    for (int64_t w = 0; w < y.w; ++w)
      std::memset(y.row(row) + w * y.stride_w, 0, static_cast<size_t>(y.c) * sizeof(float));
  });
}

bool is_pointwise(const Conv3dParams& p) {
  return p.kernel_size == 1;
}

// What Winograd needs of a convolution that reads x: whole tiles, zeros around x, and whole blocks of
// channels.
bool winograd_fits(const View<const float>& x, const Conv3dParams& p) {
  return p.kernel_size == 3 && p.stride == 1 && p.padding == 1 && x.halo >= 1 &&
         winograd_tile(x.d, x.h).exists() && p.in_channels % channel_block == 0 &&
         p.out_channels % channel_block == 0;
}

// Transforming and streaming the filters costs as much as the direct method's products for some 150 voxels.
// At 256->256 channels and 7x8x5 (28 MB of filters) Winograd gains a quarter with the level-3 cache for
// itself and nothing where others use that cache too.
bool takes_winograd(const View<const float>& x, const Conv3dParams& p) {
  constexpr int64_t least_voxels = 300;
  const ConvolutionMethod method = active_convolution_method();
  return method != ConvolutionMethod::direct && winograd_fits(x, p) &&
         (method == ConvolutionMethod::winograd || x.voxels() >= least_voxels);
}

WinogradTile tile_of(WeightOrder order) {
  if (order == WeightOrder::winograd_4x4) return {4, 4};
  return {2, order == WeightOrder::winograd_2x4 ? 4 : 2};
}

template <class Call>
bool always(const Call&) {
  return true;
}
template <class Call>
bool pointwise_applies(const Call& c) {
  return is_pointwise(c.params);
}
template <class Call>
bool winograd_applies(const Call& c) {
  return takes_winograd(c.read(), c.params);
}

struct ForwardCall {
  View<float> y;
  View<const float> x;
  const Conv3dParams& params;
  Weights weights;
  Epilogue epilogue;
  const Exec* exec;

  const View<const float>& read() const { return x; }
};

Weights forward_weights(const float* weight, const Conv3dParams& p) {
  return producing_first(weight, p.out_channels, p.in_channels, p.kernel_size);
}

void forward_pointwise(const ForwardCall& c) {
  correlate(c.y, every_nth_voxel(c.x, c.y, c.params.stride), c.weights, c.epilogue, 1, 0, *c.exec);
}
void forward_winograd(const ForwardCall& c) {
  correlate_winograd(c.y, c.x, c.weights, c.epilogue, *c.exec);
}
void forward_direct(const ForwardCall& c) {
  correlate(c.y, c.x, c.weights, c.epilogue, c.params.stride, c.params.padding, *c.exec);
}

struct BackwardInputCall {
  View<float> dx;
  View<const float> dy;
  const Conv3dParams& params;
  const float* weight;
  const Exec* exec;

  const View<const float>& read() const { return dy; }
  Weights weights(bool flipped) const {
    return producing_second(weight, params.out_channels, params.in_channels, params.kernel_size, flipped);
  }
};

bool has_stride_1(const BackwardInputCall& c) {
  return c.params.stride == 1;
}
void backward_input_pointwise(const BackwardInputCall& c) {
  if (c.params.stride != 1) fill_zero(c.dx);
  correlate(every_nth_voxel(c.dx, c.dy, c.params.stride), c.dy, c.weights(false), {}, 1, 0, *c.exec);
}
void backward_input_winograd(const BackwardInputCall& c) {
  correlate_winograd(c.dx, c.dy, c.weights(true), {}, *c.exec);
}
void backward_input_flipped(const BackwardInputCall& c) {
  correlate(c.dx, c.dy, c.weights(true), {}, 1, c.params.kernel_size - 1 - c.params.padding, *c.exec);
}
void backward_input_transposed(const BackwardInputCall& c) {
  correlate_transposed(c.dx, c.dy, c.weights(false), {}, c.params.padding, *c.exec);
}

struct BackwardWeightCall {
  View<const float> dy, x;
  const Conv3dParams& params;
  float* dweight;
  const Exec* exec;

  const View<const float>& read() const { return x; }
};

void backward_weight_pointwise(const BackwardWeightCall& c) {
  correlation_gradient(c.dweight, c.dy, every_nth_voxel(c.x, c.dy, c.params.stride), 1, 1, c.params.padding,
                       *c.exec);
}
void backward_weight_winograd(const BackwardWeightCall& c) {
  correlation_gradient_winograd(c.dweight, c.dy, c.x, *c.exec);
}
void backward_weight_direct(const BackwardWeightCall& c) {
  correlation_gradient(c.dweight, c.dy, c.x, c.params.kernel_size, c.params.stride, c.params.padding,
                       *c.exec);
}

template <class Call>
struct Algorithm {
  const char* name;
  bool (*applies)(const Call&);
  void (*run)(const Call&);
};

// A 1x1x1 convolution needs neither edges nor sliding. Winograd takes a quarter to four ninths of the direct
// method's products; all that it does not fit go directly, which on the networks' shapes runs near the peak
// of the FMA units.
constexpr Algorithm<ForwardCall> forward_algorithms[] = {
    {"pointwise", pointwise_applies, forward_pointwise},
    {"winograd", winograd_applies, forward_winograd},
    {"direct", always, forward_direct},
};

// With stride 1 the transpose of a convolution is a convolution with flipped taps, with the speed of the
// forward pass. With stride 2 three quarters of such products would be with zeros: even and odd outputs are
// computed apart.
constexpr Algorithm<BackwardInputCall> backward_input_algorithms[] = {
    {"pointwise", pointwise_applies, backward_input_pointwise},
    {"winograd", winograd_applies, backward_input_winograd},
    {"flipped", has_stride_1, backward_input_flipped},
    {"transposed", always, backward_input_transposed},
};

constexpr Algorithm<BackwardWeightCall> backward_weight_algorithms[] = {
    {"pointwise", pointwise_applies, backward_weight_pointwise},
    {"winograd", winograd_applies, backward_weight_winograd},
    {"direct", always, backward_weight_direct},
};

template <class Call, size_t Count>
const Algorithm<Call>& first_applying(const Algorithm<Call> (&algorithms)[Count], const Call& call) {
  const Algorithm<Call>* algorithm = algorithms;
  while (!algorithm->applies(call)) ++algorithm;  // the last one always does
  return *algorithm;
}

template <class Call, size_t Count>
void run_first(const Algorithm<Call> (&algorithms)[Count], const Call& call) {
  first_applying(algorithms, call).run(call);
}

}  // namespace

void conv3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                    const Conv3dParams& params, const Exec& exec) {
  run_first(forward_algorithms, ForwardCall{y, x, params, forward_weights(weight, params), {bias}, &exec});
}

WeightOrder conv3d_weight_order(const View<const float>& x, const Conv3dParams& params) {
  if (is_pointwise(params) || !takes_winograd(x, params)) return WeightOrder::direct;
  const WinogradTile tile = winograd_tile(x.d, x.h);
  if (tile.d == 4) return WeightOrder::winograd_4x4;
  return tile.h == 4 ? WeightOrder::winograd_2x4 : WeightOrder::winograd_2x2;
}

int64_t conv3d_packed_floats(const WeightPacking& packing, const Conv3dParams& params) {
  Weights weights = forward_weights(nullptr, params);
  weights.bfloat16 = packing.bfloat16;
  return packing.order == WeightOrder::direct ? weights.packed_floats()
                                              : winograd_filter_floats(weights, tile_of(packing.order));
}

void conv3d_pack(float* packed, const float* weight, const WeightPacking& packing,
                 const Conv3dParams& params) {
  Weights weights = forward_weights(weight, params);
  weights.bfloat16 = packing.bfloat16;
  if (packing.order == WeightOrder::direct) return pack_weights(packed, weights);
  winograd_filters(packed, weights, tile_of(packing.order));
}

void conv3d_forward(View<float> y, View<const float> x, const PackedWeights& packed, const float* bias,
                    const OutputActivation& activation, const Conv3dParams& params, const Exec& exec) {
  Weights weights = forward_weights(nullptr, params);
  weights.packed = packed.data, weights.bfloat16 = packed.packing.bfloat16;
  run_first(forward_algorithms, ForwardCall{y, x, params, weights, {bias, activation}, &exec});
}

void conv3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                           const Conv3dParams& params, const Exec& exec) {
  run_first(backward_input_algorithms, BackwardInputCall{dx, dy, params, weight, &exec});
}

void conv3d_add_backward_input_strided(View<float> dx, View<const float> dy, const float* weight,
                                       const Conv3dParams& params, const Exec& exec) {
  const BackwardInputCall call{dx, dy, params, weight, &exec};
  correlate_transposed(dx, dy, call.weights(false), {}, params.padding, exec, /*add=*/true);
}

void conv3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                            const Conv3dParams& params, const Exec& exec) {
  run_first(backward_weight_algorithms, BackwardWeightCall{dy, x, params, dweight, &exec});
}

const char* forward_algorithm(const View<float>& y, const View<const float>& x, const Conv3dParams& params) {
  return first_applying(forward_algorithms, ForwardCall{y, x, params, {}, {}, nullptr}).name;
}

const char* backward_input_algorithm(const View<float>& dx, const View<const float>& dy,
                                     const Conv3dParams& params) {
  return first_applying(backward_input_algorithms, BackwardInputCall{dx, dy, params, nullptr, nullptr}).name;
}

const char* backward_weight_algorithm(const View<const float>& dy, const View<const float>& x,
                                      const Conv3dParams& params) {
  return first_applying(backward_weight_algorithms, BackwardWeightCall{dy, x, params, nullptr, nullptr}).name;
}

}  // namespace vg::kernels::cpu::VG_ISA
