// Times the convolutions of the seed's network one by one, on the CPU.
#pragma once

#include <CLI/CLI.hpp>

namespace vg::bench {

void register_conv3d(CLI::App& app);

}  // namespace vg::bench
