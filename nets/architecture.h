// What a network is, apart from its weights: kept as JSON beside every checkpoint, and read off a state dict
// that comes without it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "layers/module.h"

namespace vg {

/// The defaults are the seed's network.
struct Architecture {
  std::string name = "attention_unet";  ///< attention_unet or unet
  int64_t in_channels = 4;
  int64_t out_channels = 4;
  std::vector<int64_t> channels{16, 32, 64, 128, 256};  ///< of each level, the finest first
  std::vector<int64_t> strides{2, 2, 2, 2};             ///< between levels: one fewer, each 2
  double dropout = 0;                                   ///< in [0, 1)

  bool operator==(const Architecture&) const = default;
};

/// Throws std::invalid_argument naming the field that is not valid, its value and what is expected.
void check(const Architecture& architecture);

/// {"name": "attention_unet", "in_channels": 4, "out_channels": 4, "channels": [16, ...], "strides": [2,
/// ...], "dropout": 0.0}
std::string to_json(const Architecture& architecture);

/// Missing fields keep their defaults (strides: 2 everywhere). Throws std::invalid_argument for text that is
/// not JSON, an unknown field, a wrong type or a value that check() refuses.
Architecture architecture_from_json(const std::string& text);

/// Reads the architecture off the names and shapes of a state dict, ours or MONAI's (AttentionUnet, or UNet
/// without residual units). Strides and dropout leave no trace in the weights: they are taken as 2 and 0.
/// Throws std::invalid_argument if the state dict is not of such a network, naming the tensor that is missing
/// or whose shape does not fit. Other tensors are not looked at: Module::load_state does that.
Architecture architecture_from_state(const std::vector<NamedTensor>& state);

}  // namespace vg
