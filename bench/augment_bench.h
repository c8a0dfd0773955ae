// voxgrad-bench augment: the augmentation transforms on one subject.
#pragma once

#include <CLI/CLI.hpp>

namespace vg::bench {

void register_augment(CLI::App& app);

}  // namespace vg::bench
