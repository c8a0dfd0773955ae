#include "bench/augment_bench.h"

#include <omp.h>

#include <array>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/harness.h"
#include "bench/options.h"
#include "data/augmentation.h"
#include "engine/atomic_file.h"
#include "engine/rng.h"
#include "kernels/common/simd.h"

namespace vg::bench {

namespace {

// The seed's five first, with its arguments.
const std::vector<std::string> default_transforms = {"random_ghosting(intensity=0.5)",
                                                     "random_spike(intensity=1)",
                                                     "random_bias_field(coefficients=0.5)",
                                                     "random_motion(degrees=10,translation=10)",
                                                     "random_elastic()",
                                                     "random_affine()",
                                                     "random_flip(flip_probability=1)",
                                                     "random_noise()",
                                                     "random_gamma()",
                                                     "random_blur()",
                                                     "random_anisotropy()"};

// Four images from 0 to 1 and labels, at 1.5 mm: a subject of the seed after its preprocessing.
class Subject {
 public:
  explicit Subject(const std::array<int64_t, 3>& extent)
      : geometry_{extent, {{{1.5, 0, 0, -80}, {0, 1.5, 0, -110}, {0, 0, 1.5, -60}}}},
        images_(Tensor::empty({4 * geometry_.voxels()})),
        moved_images_(Tensor::empty({4 * geometry_.voxels()})),
        labels_(static_cast<size_t>(geometry_.voxels())),
        moved_labels_(labels_.size()) {
    Rng(1).uniform(images_, 0, 1);
    for (size_t i = 0; i < labels_.size(); ++i) labels_[i] = static_cast<uint8_t>(i / 1000 % 4);
  }
  void apply(const std::vector<data::AppliedTransform>& transforms) {
    const auto [d, h, w] = geometry_.extent;
    const auto view = [&](auto* memory, int64_t n) {
      return kernels::contiguous_view(memory, n, d, h, w, 1);
    };
    data::apply_transforms(transforms, {view(moved_images_.data<float>(), 4), view(moved_labels_.data(), 1)},
                           {view(images_.data<const float>(), 4), view(std::as_const(labels_).data(), 1)},
                           geometry_, {.device = kernels::DeviceKind::cpu, .workspace = &workspace_});
  }

 private:
  data::Geometry geometry_;
  Tensor images_, moved_images_;
  std::vector<uint8_t> labels_, moved_labels_;
  kernels::Workspace workspace_{kernels::DeviceKind::cpu};
};

// A loader's worker has one thread.
Options augment_options() {
  Options options;
  options.threads = 1;
  return options;
}

struct AugmentBench {
  std::vector<std::string> transforms = default_transforms;
  std::vector<int64_t> shape = {112, 128, 80};
  Options options = augment_options();

  void run() const {
    options.apply();
    std::printf(
        "%s, %d threads, 4x%lldx%lldx%lld and labels, milliseconds of %d runs, parameters drawn anew for "
        "each\n",
        kernels::cpu::isa_name(kernels::cpu::active_isa()), omp_get_max_threads(),
        static_cast<long long>(shape[0]), static_cast<long long>(shape[1]), static_cast<long long>(shape[2]),
        options.runs);
    std::printf("%-42s %10s %10s %10s\n", "transform", "median", "fastest", "slowest");
    Subject subject({shape[0], shape[1], shape[2]});
    nlohmann::ordered_json results;
    for (const std::string& text : transforms) {
      const data::Augmentation augmentation = data::Augmentation::parse(text);
      uint64_t visit = 0;
      const Timing timing = measure(
          [&] {
            data::Draws draws(1, visit++);
            subject.apply(augmentation.draw(4, draws));
          },
          options.warmup, options.runs);
      std::printf("%-42s %10.2f %10.2f %10.2f\n", text.c_str(), 1e3 * timing.median, 1e3 * timing.fastest,
                  1e3 * timing.slowest);
      std::fflush(stdout);
      results[text] = {{"seconds_median", timing.median}, {"seconds_fastest", timing.fastest}};
    }
    if (!options.json.empty()) write_file_atomically(options.json, results.dump(2) + "\n");
  }
};

}  // namespace

void register_augment(CLI::App& app) {
  const auto bench = std::make_shared<AugmentBench>();
  CLI::App* sub = app.add_subcommand("augment", "the augmentation transforms on one subject, on the CPU");
  sub->add_option("--transform", bench->transforms,
                  "transforms as `voxgrad transform` takes them; may be repeated");
  sub->add_option("--shape", bench->shape, "D,H,W")->delimiter(',')->expected(3);
  add_run_options(*sub, bench->options);
  sub->callback([bench] { bench->run(); });
}

}  // namespace vg::bench
