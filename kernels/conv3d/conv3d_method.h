// Which of its algorithms the CPU's conv3d takes for kernels of 3 with stride 1.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/common/view.h"
#include "kernels/conv3d/conv3d.h"

namespace vg::kernels::cpu {

enum class ConvolutionMethod : uint8_t {
  automatic,  ///< Winograd where it is faster, else direct
  direct,     ///< never Winograd
  winograd    ///< Winograd wherever its conditions hold, faster or not
};

/// The method in force: automatic, or what the environment variable VOXGRAD_CONV (auto | direct | winograd)
/// or force_convolution_method asks for. Throws std::runtime_error if the variable holds another value.
ConvolutionMethod active_convolution_method();
void force_convolution_method(ConvolutionMethod method);
/// auto, direct or winograd.
const char* convolution_method_name(ConvolutionMethod method);
/// The way back. Throws std::runtime_error for another name.
ConvolutionMethod convolution_method(const std::string& name);

/// Names of the algorithms that the three functions of conv3d.h take on the CPU for such arguments, for
/// benchmarks and tests.
const char* conv3d_forward_algorithm(const View<float>& y, const View<const float>& x,
                                     const Conv3dParams& params);
const char* conv3d_backward_input_algorithm(const View<float>& dx, const View<const float>& dy,
                                            const Conv3dParams& params);
const char* conv3d_backward_weight_algorithm(const View<const float>& dy, const View<const float>& x,
                                             const Conv3dParams& params);

}  // namespace vg::kernels::cpu
