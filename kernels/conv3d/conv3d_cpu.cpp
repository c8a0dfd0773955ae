// Each direction takes the first algorithm of its list that applies.
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/conv3d/conv3d_impl.h"
#include "kernels/conv3d/conv3d_passes_cpu.h"

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
bool has_stride_1(const Conv3dParams& p) {
  return p.stride == 1;
}
bool always(const Conv3dParams&) {
  return true;
}

struct ForwardCall {
  View<float> y;
  View<const float> x;
  const float *weight, *bias;
  const Conv3dParams& params;
  const Exec& exec;

  Weights weights() const {
    return producing_first(weight, params.out_channels, params.in_channels, params.kernel_size);
  }
};

void forward_pointwise(const ForwardCall& c) {
  correlate(c.y, every_nth_voxel(c.x, c.y, c.params.stride), c.weights(), c.bias, 1, 0, c.exec);
}
void forward_direct(const ForwardCall& c) {
  correlate(c.y, c.x, c.weights(), c.bias, c.params.stride, c.params.padding, c.exec);
}

struct BackwardInputCall {
  View<float> dx;
  View<const float> dy;
  const float* weight;
  const Conv3dParams& params;
  const Exec& exec;

  Weights weights(bool flipped) const {
    return producing_second(weight, params.out_channels, params.in_channels, params.kernel_size, flipped);
  }
};

void backward_input_pointwise(const BackwardInputCall& c) {
  if (c.params.stride != 1) fill_zero(c.dx);
  correlate(every_nth_voxel(c.dx, c.dy, c.params.stride), c.dy, c.weights(false), nullptr, 1, 0, c.exec);
}
void backward_input_flipped(const BackwardInputCall& c) {
  correlate(c.dx, c.dy, c.weights(true), nullptr, 1, c.params.kernel_size - 1 - c.params.padding, c.exec);
}
void backward_input_transposed(const BackwardInputCall& c) {
  correlate_transposed(c.dx, c.dy, c.weights(false), nullptr, c.params.padding, c.exec);
}

template <class Call>
struct Algorithm {
  const char* name;
  bool (*applies)(const Conv3dParams&);
  void (*run)(const Call&);
};

// A 1x1x1 convolution needs neither edges nor sliding; all others go directly, which on the networks' shapes
// runs near the peak of the FMA units.
constexpr Algorithm<ForwardCall> forward_algorithms[] = {
    {"pointwise", is_pointwise, forward_pointwise},
    {"direct", always, forward_direct},
};

// With stride 1 the transpose of a convolution is a convolution with flipped taps, with the speed of the
// forward pass. With stride 2 three quarters of such products would be with zeros: even and odd outputs are
// computed apart.
constexpr Algorithm<BackwardInputCall> backward_input_algorithms[] = {
    {"pointwise", is_pointwise, backward_input_pointwise},
    {"flipped", has_stride_1, backward_input_flipped},
    {"transposed", always, backward_input_transposed},
};

template <class Call, size_t Count>
void run_first(const Algorithm<Call> (&algorithms)[Count], const Call& call) {
  const Algorithm<Call>* algorithm = algorithms;
  while (!algorithm->applies(call.params)) ++algorithm;  // the last one always does
  algorithm->run(call);
}

}  // namespace

void conv3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                    const Conv3dParams& params, const Exec& exec) {
  run_first(forward_algorithms, ForwardCall{y, x, weight, bias, params, exec});
}

void conv3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                           const Conv3dParams& params, const Exec& exec) {
  run_first(backward_input_algorithms, BackwardInputCall{dx, dy, weight, params, exec});
}

void conv3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                            const Conv3dParams& params, const Exec& exec) {
  const bool pointwise = is_pointwise(params);
  correlation_gradient(dweight, dy, pointwise ? every_nth_voxel(x, dy, params.stride) : x, params.kernel_size,
                       pointwise ? 1 : params.stride, params.padding, exec);
}

}  // namespace vg::kernels::cpu::VG_ISA
