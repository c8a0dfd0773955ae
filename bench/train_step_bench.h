// Times whole steps of the seed's network: training (forward, loss, backward, Adam) or inference.
#pragma once

#include <CLI/CLI.hpp>

namespace vg::bench {

void register_train_step(CLI::App& app);

}  // namespace vg::bench
