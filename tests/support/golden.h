// Data made with PyTorch and MONAI by tests/golden/make_golden.py, whose docstring says what the files hold.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "engine/safetensors.h"

namespace vg::test {

inline Safetensors load_golden(const std::string& name) {
  return load_safetensors(std::filesystem::path(VG_GOLDEN_DIR) / (name + ".safetensors"));
}

/// The JSON in a file's metadata.
inline nlohmann::json golden_metadata(const Safetensors& file) {
  return nlohmann::json::parse(file.metadata.at("json"));
}

/// The architecture in a file's metadata, as text.
inline std::string golden_architecture(const Safetensors& file) {
  return golden_metadata(file).at("architecture").dump();
}

/// An activation from a tensor of PyTorch's order N, C, D, H, W.
inline Tensor golden_activation(const Tensor& t, Device device) {
  return Tensor::activation_from_ncdhw(t.values(), t.size(0), t.size(1), t.size(2), t.size(3), t.size(4),
                                       device);
}

/// Labels [N, D, H, W, 1] from a uint8 tensor N, D, H, W.
inline Tensor golden_labels(const Tensor& t, Device device) {
  const Tensor labels =
      Tensor::activation(t.size(0), t.size(1), t.size(2), t.size(3), 1, device, DType::uint8);
  labels.copy_from(t.reshaped(labels.shape()));
  return labels;
}

}  // namespace vg::test
