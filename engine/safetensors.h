// Reading and writing the safetensors format (github.com/huggingface/safetensors): 8 bytes of header length,
// a JSON header with type, shape and place of each tensor, then the values. PyTorch and MONAI read and write
// it too.
#pragma once

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace vg {

/// A file that cannot be used. what() is one line: file, field, found, expected, how to mend it.
class SafetensorsError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::vector<NamedTensor> tensors;  ///< contiguous, on the CPU, in the order of the file

  [[nodiscard]] bool contains(const std::string& name) const;
  /// Throws std::out_of_range naming the tensor if it is not there.
  [[nodiscard]] const Tensor& at(const std::string& name) const;
};

/// Reads a whole file. Types F32, BF16, U8 and I64; F64 and F16 become float32. Every length and offset is
/// checked against the file before memory is allocated, and the checksum if the file carries one (ours do).
/// Throws SafetensorsError.
Safetensors load_safetensors(const std::filesystem::path& file);

/// Writes atomically, with a checksum over header and values in the metadata. Tensors may be on any device
/// and must be contiguous (not activations). Throws std::runtime_error if the file cannot be written.
void save_safetensors(const std::filesystem::path& file, const Safetensors& content);

}  // namespace vg
