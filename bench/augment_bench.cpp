#include "bench/augment_bench.h"

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "bench/report.h"
#include "data/augmentation.h"
#include "engine/rng.h"

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
  Subject(const std::array<int64_t, 3>& extent, Device device)
      : device_(device),
        geometry_{extent, {{{1.5, 0, 0, -80}, {0, 1.5, 0, -110}, {0, 0, 1.5, -60}}}},
        images_(Tensor::empty({4 * geometry_.voxels()}, DType::float32, device)),
        moved_images_(Tensor::empty_like(images_)) {
    Rng(1).uniform(images_, 0, 1);
    std::vector<uint8_t> labels(static_cast<size_t>(geometry_.voxels()));
    for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<uint8_t>(i / 1000 % 4);
    labels_ = Tensor::from_values({geometry_.voxels()}, labels, device);
    moved_labels_ = Tensor::empty_like(labels_);
  }
  void apply(const std::vector<data::AppliedTransform>& transforms) {
    const auto [d, h, w] = geometry_.extent;
    const auto view = [&](auto* memory, int64_t n) {
      return kernels::contiguous_view(memory, n, d, h, w, 1);
    };
    data::apply_transforms(transforms,
                           {view(moved_images_.data<float>(), 4), view(moved_labels_.data<uint8_t>(), 1)},
                           {view(images_.data<const float>(), 4), view(labels_.data<const uint8_t>(), 1)},
                           geometry_, Context::get().exec(device_));
  }
  // Images and labels, read and written.
  double bytes() const { return 2.0 * static_cast<double>(geometry_.voxels()) * (4 * sizeof(float) + 1); }

 private:
  Device device_;
  data::Geometry geometry_;
  Tensor images_, moved_images_, labels_, moved_labels_;
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
    Report report("augment", options);
    Subject subject({shape[0], shape[1], shape[2]}, options.where());
    const std::string extent = std::to_string(shape[0]) + "x" + std::to_string(shape[1]) + "x" +
                               std::to_string(shape[2]) + " c4 and labels";
    for (const std::string& text : transforms) {
      const data::Augmentation augmentation = data::Augmentation::parse(text);
      const std::string name = text.substr(0, text.find('('));
      if (!options.wants(name, text)) continue;
      uint64_t visit = 0;
      // Parameters are drawn anew for each run, as in training.
      report.race({name,
                   extent,
                   "fprop",
                   0,
                   subject.bytes(),
                   1,
                   {{"voxgrad",
                     [&](int) {
                       data::Draws draws(1, visit++);
                       subject.apply(augmentation.draw(4, draws));
                     },
                     {}}}});
    }
    report.finish();
  }
};

}  // namespace

void register_augment(CLI::App& app) {
  const auto bench = std::make_shared<AugmentBench>();
  CLI::App* sub = app.add_subcommand("augment", "the augmentation transforms on one subject");
  sub->add_option("--transform", bench->transforms,
                  "transforms as `voxgrad transform` takes them; may be repeated");
  sub->add_option("--shape", bench->shape, "D,H,W")->delimiter(',')->expected(3);
  add_race_options(*sub, bench->options);
  sub->callback([bench] { bench->run(); });
}

}  // namespace vg::bench
