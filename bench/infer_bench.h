// A whole prediction of the seed's network: forward in inference mode and softmax.
#pragma once

#include <CLI/CLI.hpp>

namespace vg::bench {

void register_infer(CLI::App& app);

}  // namespace vg::bench
