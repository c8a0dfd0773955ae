// `voxgrad-bench ladder`: the study versions of the convolution (bench/ladder), side by side.
#pragma once

namespace CLI {
class App;
}

namespace vg::bench {

void register_ladder(CLI::App& app);

}  // namespace vg::bench
