// Layers of a shape file (bench/shapes), which describes its format: what the benchmarks of convolutions run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/opponents/conv_opponent.h"

namespace vg::bench {

/// A convolution, or a transposed one. Extents are of the input.
struct ConvLayer {
  std::string name;
  bool transposed;
  int64_t in, out, d, h, w;
  int kernel_size, stride;
  std::vector<std::string> directions;  ///< of fprop, dgrad, wgrad
  int64_t batch;

  int padding() const { return (kernel_size - 1) / 2; }
  int64_t output_extent(int64_t extent) const {
    return transposed ? extent * stride : (extent + 2 * padding() - kernel_size) / stride + 1;
  }
  int64_t taps() const { return int64_t{kernel_size} * kernel_size * kernel_size; }
  /// Without the name: "transposed k3 s2 32->16 56x64x40".
  std::string label() const;
  bool has(const std::string& direction) const;
};

/// Throws std::runtime_error, naming file and line, if a file is missing or a line does not fit.
std::vector<ConvLayer> read_conv_layers(const std::string& path);

/// The layer's direction as opponents see it, without values: dense volumes of its extents in float32.
ConvTask conv_task(const ConvLayer& layer, const std::string& direction);

}  // namespace vg::bench
