// The public functions of a convolution, plain or transposed, under one name.
#pragma once

#include "kernels/conv3d/conv3d.h"
#include "kernels/conv_transpose3d/conv_transpose3d.h"
#include "support/buffer.h"

namespace vg::test {

template <class T>
void convolve(kernels::View<T> y, kernels::View<const T> x, const float* weight, const float* bias,
              const kernels::Conv3dParams& params, const kernels::Exec& exec) {
  kernels::conv3d_forward(y, x, weight, bias, params, exec);
}
template <class T>
void convolve(kernels::View<T> y, kernels::View<const T> x, const float* weight, const float* bias,
              const kernels::ConvTranspose3dParams& params, const kernels::Exec& exec) {
  kernels::conv_transpose3d_forward(y, x, weight, bias, params, exec);
}

template <class T>
void convolve_backward_input(kernels::View<T> dx, kernels::View<const T> dy, const float* weight,
                             const kernels::Conv3dParams& params, const kernels::Exec& exec) {
  kernels::conv3d_backward_input(dx, dy, weight, params, exec);
}
template <class T>
void convolve_backward_input(kernels::View<T> dx, kernels::View<const T> dy, const float* weight,
                             const kernels::ConvTranspose3dParams& params, const kernels::Exec& exec) {
  kernels::conv_transpose3d_backward_input(dx, dy, weight, params, exec);
}

template <class T>
void convolve_backward_weight(float* dweight, kernels::View<const T> dy, kernels::View<const T> x,
                              const kernels::Conv3dParams& params, const kernels::Exec& exec) {
  kernels::conv3d_backward_weight(dweight, dy, x, params, exec);
}
template <class T>
void convolve_backward_weight(float* dweight, kernels::View<const T> dy, kernels::View<const T> x,
                              const kernels::ConvTranspose3dParams& params, const kernels::Exec& exec) {
  kernels::conv_transpose3d_backward_weight(dweight, dy, x, params, exec);
}

/// Calls check.run(x_place, y_place, ...) with the public functions; `T` is the element of activations.
template <class T, class Check, class Params>
void run_public_functions(const Check& check, const Placement& x_place, const Placement& y_place,
                          const Params& params, const kernels::Exec& exec) {
  using kernels::View;
  check.run(
      x_place, y_place,
      [&](View<T> y, View<const T> x, const float* weight, const float* bias) {
        convolve(y, x, weight, bias, params, exec);
      },
      [&](View<T> dx, View<const T> dy, const float* weight) {
        convolve_backward_input(dx, dy, weight, params, exec);
      },
      [&](float* dweight, View<const T> dy, View<const T> x) {
        convolve_backward_weight(dweight, dy, x, params, exec);
      });
}

}  // namespace vg::test
