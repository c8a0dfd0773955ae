// Convolutions by other libraries.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/opponents/opponent.h"
#include "engine/tensor.h"

namespace vg::bench {

/// Both kinds of convolution and all their directions are one relation between a large volume and a small
/// one, joined by out(small voxel v) ~ in(large voxel stride * v - padding + tap): `gather` sums into the
/// small volume (forward; of a transposed convolution the gradient of its input), `scatter` into the large
/// one, and `weights` are the gradient of the weights.
enum class ConvPass : uint8_t { gather, scatter, weights };

/// Activations are dense and channels-last; weights [small channels][large channels][taps], which is
/// PyTorch's order for both kinds.
struct ConvTask {
  ConvPass pass;
  bool transposed;                 ///< what the layer is called; the sums do not depend on it
  View<const float> large, small;  ///< values on the host
  const float* weights;
  int kernel_size, stride, padding;
  DType type = DType::float32;  ///< of activations and, where a library wants that, weights
  bool tf32 = false;
  int sets = 1;  ///< of operands

  int64_t taps() const { return int64_t{kernel_size} * kernel_size * kernel_size; }
  int64_t weight_count() const { return large.c * small.c * taps(); }
};

/// Plans are made here, outside the timer. `why_not` names what a library cannot do or was not built for.
std::vector<std::unique_ptr<Opponent>> make_conv_opponents(const std::string& opponent, const ConvTask& task,
                                                           std::string& why_not);

}  // namespace vg::bench
