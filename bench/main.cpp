#include <CLI/CLI.hpp>
#include <cstdio>

#include "bench/augment_bench.h"
#include "bench/conv3d_bench.h"
#include "bench/infer_bench.h"
#include "bench/ladder_bench.h"
#include "bench/op_benches.h"
#include "bench/train_step_bench.h"

int main(int argc, char** argv) {
  CLI::App app("voxgrad-bench: times kernels and whole steps", "voxgrad-bench");
  app.require_subcommand(1);
  vg::bench::register_train_step(app);
  vg::bench::register_infer(app);
  vg::bench::register_conv3d(app);
  vg::bench::register_conv_transpose3d(app);
  vg::bench::register_gate(app);
  vg::bench::register_norm(app);
  vg::bench::register_dice(app);
  vg::bench::register_resample(app);
  vg::bench::register_augment(app);
  vg::bench::register_ladder(app);
  vg::bench::register_adam(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "voxgrad-bench: error: %s\n", error.what());
    return 1;
  }
  return 0;
}
