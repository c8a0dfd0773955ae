// oneDNN 2 (Debian's libdnnl) on the CPU, through its C++ interface, which throws dnnl::error for every
// status that is not success.
#pragma once

#include <dnnl.hpp>

#include "bench/opponents/conv_opponent.h"

namespace vg::bench {

/// The same elements in the same places as a channels-last view.
dnnl::memory::desc onednn_desc(const View<const float>& view);
/// Weights in the task's order, with the library's dimensions (output channels, input channels, kernel) of a
/// convolution or, for a transposed layer, of a deconvolution.
dnnl::memory::desc onednn_weights_desc(const ConvTask& task);

/// The engine of this process's CPU and its stream.
struct Onednn {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
};

}  // namespace vg::bench
