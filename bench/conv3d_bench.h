// Races of the convolutions of a shape file: voxgrad-bench conv3d and conv_transpose3d.
#pragma once

#include <CLI/CLI.hpp>

namespace vg::bench {

/// All convolutions of the file, the transposed ones included.
void register_conv3d(CLI::App& app);
/// The transposed ones alone.
void register_conv_transpose3d(CLI::App& app);

}  // namespace vg::bench
