// What a figure depends on besides the code: the machine, its clocks and load, and versions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bench/options.h"

namespace vg::bench {

/// Names and values in the order in which they are printed: processor, cores, clock, governor, load, caches,
/// instruction set, threads; on CUDA the GPU, its clock and cache, driver and runtime; the opponent's
/// versions. What the system does not tell says so.
std::vector<std::pair<std::string, std::string>> describe_machine(const Options& options);

}  // namespace vg::bench
