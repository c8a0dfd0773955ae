// Races of single ops, each a subcommand of voxgrad-bench.
#pragma once

#include <CLI/CLI.hpp>

namespace vg::bench {

/// Batch norm with ReLU in training, over the results of the network's convolutions.
void register_norm(CLI::App& app);
/// The attention gates.
void register_gate(CLI::App& app);
/// Dice loss with softmax over the network's result.
void register_dice(CLI::App& app);
/// Trilinear resampling to twice the extents, over what the network's transposed convolutions take.
void register_resample(CLI::App& app);
/// One Adam step over all weights of the network's convolutions.
void register_adam(CLI::App& app);

}  // namespace vg::bench
