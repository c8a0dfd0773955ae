#include "kernels/conv3d/conv3d_method.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels/conv3d/conv3d_impl.h"

namespace vg::kernels::cpu {

namespace {

ConvolutionMethod initial_method() {
  const char* value = std::getenv("VOXGRAD_CONV");
  if (value == nullptr || *value == '\0') return ConvolutionMethod::automatic;
  try {
    return convolution_method(value);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(std::string("environment: VOXGRAD_CONV: ") + error.what());
  }
}

std::atomic<ConvolutionMethod>& current_method() {
  static std::atomic<ConvolutionMethod> method{initial_method()};
  return method;
}

}  // namespace

const char* convolution_method_name(ConvolutionMethod method) {
  switch (method) {
    case ConvolutionMethod::direct:
      return "direct";
    case ConvolutionMethod::winograd:
      return "winograd";
    case ConvolutionMethod::automatic:
      break;
  }
  return "auto";
}

ConvolutionMethod convolution_method(const std::string& name) {
  for (const ConvolutionMethod method :
       {ConvolutionMethod::automatic, ConvolutionMethod::direct, ConvolutionMethod::winograd}) {
    if (name == convolution_method_name(method)) return method;
  }
  throw std::runtime_error("convolution method '" + name + "', expected auto, direct or winograd");
}

ConvolutionMethod active_convolution_method() {
  return current_method().load(std::memory_order_relaxed);
}

void force_convolution_method(ConvolutionMethod method) {
  current_method().store(method, std::memory_order_relaxed);
}

const char* conv3d_forward_algorithm(const View<float>& y, const View<const float>& x,
                                     const Conv3dParams& params) {
  VG_CALL_CPU(forward_algorithm, y, x, params);
  throw std::logic_error("unknown instruction set");
}

const char* conv3d_backward_input_algorithm(const View<float>& dx, const View<const float>& dy,
                                            const Conv3dParams& params) {
  VG_CALL_CPU(backward_input_algorithm, dx, dy, params);
  throw std::logic_error("unknown instruction set");
}

const char* conv3d_backward_weight_algorithm(const View<const float>& dy, const View<const float>& x,
                                             const Conv3dParams& params) {
  VG_CALL_CPU(backward_weight_algorithm, dy, x, params);
  throw std::logic_error("unknown instruction set");
}

}  // namespace vg::kernels::cpu
