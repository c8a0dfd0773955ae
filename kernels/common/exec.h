// Where a kernel runs: device, stream and scratch memory. Last argument of every kernel.
#pragma once

#include <cstdint>

#include "kernels/common/workspace.h"

namespace vg::kernels {

struct Exec {
  DeviceKind device = DeviceKind::cpu;
  void* stream = nullptr;  ///< a cudaStream_t on CUDA; unused on the CPU
  Workspace* workspace = nullptr;
  /// Arguments are checked and nothing is computed: what memory a computation takes is found out this way
  /// (the engine's MemoryPlan), with pointers to nowhere.
  bool planning = false;
  /// Convolutions of float32 activations on CUDA may round what they multiply to TF32, 10 bits of mantissa,
  /// for tensor cores; sums stay float32.
  bool allow_tf32 = false;
};

}  // namespace vg::kernels
