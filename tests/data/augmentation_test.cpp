// Augmentation: the text of transforms, the distributions of drawn parameters, and the transforms themselves
// against TorchIO's results (tests/golden/make_augmentation.py).
#include "data/augmentation.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "data/nifti_io.h"
#include "engine/safetensors.h"
#include "tests/support/expect_error.h"

namespace vg::data {
namespace {

using test::expect_error;

std::vector<AppliedTransform> drawn(const std::string& text, uint64_t seed = 1, int64_t images = 1) {
  Draws draws(seed, 0);
  return Augmentation::parse(text).draw(images, draws);
}

// ---- Against TorchIO. ----

class AugmentationGolden : public testing::Test {
 protected:
  const std::filesystem::path folder_ = std::filesystem::path(VG_GOLDEN_DIR) / "augmentation";
  Safetensors cases_ = load_safetensors(folder_ / "cases.safetensors");
  nlohmann::json texts_ = nlohmann::json::parse(cases_.metadata.at("json"));

  static bool resamples(const std::string& name) {
    for (const char* const kind : {"motion", "affine", "elastic", "anisotropy"}) {
      if (name.starts_with(kind)) return true;
    }
    return false;
  }

  /// Largest difference, by the largest value; resampled volumes away from the border.
  void expect_image(const Image& actual, const std::string& name, bool resampled) const {
    const std::vector<float> expected = cases_.at(name).values();
    const auto [ni, nj, nk] = actual.geometry.extent;
    ASSERT_EQ(cases_.at(name).shape(), (Shape{ni, nj, nk}));
    const int64_t border = resampled ? 2 : 0;
    float largest = 0, worst = 0;
    for (const float value : expected) largest = std::max(largest, std::abs(value));
    for (int64_t i = border; i < ni - border; ++i) {
      for (int64_t j = border; j < nj - border; ++j) {
        for (int64_t k = border; k < nk - border; ++k) {
          const float difference =
              std::abs(actual.voxels[static_cast<size_t>(actual.geometry.index(i, j, k))] -
                       expected[static_cast<size_t>((i * nj + j) * nk + k)]);
          if (!(difference <= worst)) worst = difference;  // NaN stays
        }
      }
    }
    EXPECT_TRUE(worst <= (resampled ? 1e-3f : 1e-4f) * largest) << name << ": " << worst << " of " << largest;
  }

  void expect_labels(const LabelMap& actual, const std::string& name) const {
    const std::vector<uint8_t> expected = cases_.at(name).values<uint8_t>();
    const auto [ni, nj, nk] = actual.geometry.extent;
    int64_t equal = 0, foreground = 0;
    for (int64_t i = 0; i < ni; ++i) {
      for (int64_t j = 0; j < nj; ++j) {
        for (int64_t k = 0; k < nk; ++k) {
          const uint8_t label = expected[static_cast<size_t>((i * nj + j) * nk + k)];
          foreground += label != 0;
          equal += actual.voxels[static_cast<size_t>(actual.geometry.index(i, j, k))] == label;
        }
      }
    }
    EXPECT_GT(foreground, 100) << name;
    EXPECT_GE(static_cast<double>(equal), 0.999 * static_cast<double>(actual.geometry.voxels())) << name;
  }
};

TEST_F(AugmentationGolden, EachTransformEqualsTorchIO) {
  ASSERT_GE(texts_.size(), 28u);
  for (const char* const scan : {"phantom", "head"}) {
    const Image image = read_image(folder_ / (std::string(scan) + ".nii.gz"));
    for (const auto& [name, entry] : texts_.items()) {
      const Image result = apply_transforms(drawn(entry.at("text")), image);
      expect_image(result, name + "." + scan, resamples(name));
      EXPECT_NE(result.voxels, image.voxels) << name;
    }
  }
}

TEST_F(AugmentationGolden, LabelsMoveAsTorchIOMovesThem) {
  const LabelMap labels = read_label_map(folder_ / "labels.nii.gz");
  int moved = 0;
  for (const auto& [name, entry] : texts_.items()) {
    const LabelMap result = apply_transforms(drawn(entry.at("text")), labels);
    if (entry.at("labels")) {
      expect_labels(result, name + ".labels");
      ++moved;
    } else {
      EXPECT_EQ(result.voxels, labels.voxels) << name;
    }
  }
  EXPECT_GE(moved, 8);
}

TEST_F(AugmentationGolden, SameBitsForAnyNumberOfThreadsAndFromTheTextOfADraw) {
  const Image image = read_image(folder_ / "head.nii.gz");
  for (const TransformKind& kind : transform_kinds()) {
    const auto transforms = drawn("random_" + std::string(kind.name) + "()", 5);
    omp_set_num_threads(1);
    const Image one = apply_transforms(transforms, image);
    for (const int threads : {2, 3}) {
      omp_set_num_threads(threads);
      EXPECT_EQ(apply_transforms(transforms, image).voxels, one.voxels) << kind.name;
    }
    omp_set_num_threads(omp_get_num_procs());
    const auto again = drawn(transforms.front().text(), 99);
    EXPECT_EQ(again.front().text(), transforms.front().text());
    EXPECT_EQ(apply_transforms(again, image).voxels, one.voxels) << kind.name;
  }
}

// ---- What is drawn. ----

struct Statistics {
  double least = 1e30, most = -1e30, sum = 0;
  int64_t count = 0;
  void add(double value) {
    least = std::min(least, value);
    most = std::max(most, value);
    sum += value;
    ++count;
  }
  double mean() const { return sum / static_cast<double>(count); }
};

/// Of one parameter of a random transform over many samples.
Statistics statistics_of(const std::string& text, const std::string& parameter, int samples = 2000) {
  Statistics statistics;
  const Augmentation augmentation = Augmentation::parse(text);
  for (int sample = 0; sample < samples; ++sample) {
    Draws draws(3, static_cast<uint64_t>(sample));
    for (const AppliedTransform& transform : augmentation.draw(1, draws)) {
      for (const double value : transform.parameters.numbers(parameter)) statistics.add(value);
    }
  }
  return statistics;
}

/// Uniform: both ends nearly reached, never passed, and a mean within five standard errors.
void expect_uniform(const Statistics& s, double low, double high) {
  const double width = high - low;
  EXPECT_GE(s.least, low);
  EXPECT_LE(s.most, high);
  EXPECT_LE(s.least, low + 0.02 * width);
  EXPECT_GE(s.most, high - 0.02 * width);
  EXPECT_NEAR(s.mean(), (low + high) / 2, 5 * width / std::sqrt(12.0 * static_cast<double>(s.count)));
}

TEST(AugmentationDraws, DefaultsAreTorchIOs) {
  expect_uniform(statistics_of("random_ghosting()", "intensity"), 0.5, 1);
  expect_uniform(statistics_of("random_spike()", "intensity"), 1, 3);
  expect_uniform(statistics_of("random_spike()", "spikes_positions"), 0, 1);
  expect_uniform(statistics_of("random_bias_field()", "coefficients"), -0.5, 0.5);
  expect_uniform(statistics_of("random_motion()", "degrees"), -10, 10);
  expect_uniform(statistics_of("random_motion()", "translation"), -10, 10);
  expect_uniform(statistics_of("random_affine()", "scales"), 0.9, 1.1);
  expect_uniform(statistics_of("random_affine()", "degrees"), -10, 10);
  expect_uniform(statistics_of("random_noise()", "std"), 0, 0.25);
  expect_uniform(statistics_of("random_blur()", "std"), 0, 2);
  expect_uniform(statistics_of("random_anisotropy()", "downsampling"), 1.5, 5);
  const Statistics ghosts = statistics_of("random_ghosting()", "num_ghosts");
  EXPECT_EQ(ghosts.least, 4);
  EXPECT_EQ(ghosts.most, 10);
  EXPECT_NEAR(ghosts.mean(), 7, 0.25);
  const Statistics axes = statistics_of("random_ghosting()", "axis");
  EXPECT_EQ(axes.least, 0);
  EXPECT_EQ(axes.most, 2);
  EXPECT_NEAR(axes.mean(), 1, 0.1);
  const Statistics gammas = statistics_of("random_gamma()", "gamma");
  EXPECT_GE(gammas.least, std::exp(-0.3) - 1e-6);
  EXPECT_LE(gammas.most, std::exp(0.3) + 1e-6);
  EXPECT_EQ(statistics_of("random_spike()", "spikes_positions", 1).count, 3);
  EXPECT_EQ(statistics_of("random_bias_field(order=3)", "coefficients", 1).count, 20);
}

TEST(AugmentationDraws, ANumberMeansWhatTorchIOMakesOfIt) {
  const Statistics fixed = statistics_of("random_ghosting(intensity=0.5)", "intensity", 20);
  EXPECT_EQ(fixed.least, 0.5);
  EXPECT_EQ(fixed.most, 0.5);
  expect_uniform(statistics_of("random_spike(intensity=1)", "intensity"), -1, 1);
  expect_uniform(statistics_of("random_bias_field(coefficients=0.25)", "coefficients"), -0.25, 0.25);
  expect_uniform(statistics_of("random_affine(scales=(1,2))", "scales"), 1, 2);
  const Statistics turned = statistics_of("random_affine(degrees=(0,0,0,0,5,6))", "degrees");
  EXPECT_EQ(turned.least, 0);
  EXPECT_NEAR(turned.mean(), 5.5 / 3, 0.01);
  EXPECT_EQ(statistics_of("random_gamma(log_gamma=0)", "gamma", 1).mean(), 1);
}

TEST(AugmentationDraws, MotionsLieAroundEvenlySpacedTimes) {
  const Augmentation motion = Augmentation::parse("random_motion(num_transforms=3)");
  std::vector<Statistics> times(3);
  for (uint64_t sample = 0; sample < 2000; ++sample) {
    Draws draws(3, sample);
    const auto drawn_times = motion.draw(1, draws).front().parameters.numbers("times");
    for (size_t i = 0; i < 3; ++i) times.at(i).add(drawn_times.at(i));
  }
  for (size_t i = 0; i < 3; ++i) {
    const double middle = 0.25 * static_cast<double>(i + 1);
    expect_uniform(times[i], middle - 0.075, middle + 0.075);
  }
}

TEST(AugmentationDraws, ImagesDrawEachForThemselvesAndSpatialTransformsOnce) {
  const auto noise = drawn("random_noise()", 1, 4);
  ASSERT_EQ(noise.size(), 4u);
  for (int64_t image = 0; image < 4; ++image) EXPECT_EQ(noise[static_cast<size_t>(image)].image, image);
  EXPECT_NE(noise[0].text(), noise[1].text());
  const auto elastic = drawn("random_elastic()", 1, 4);
  ASSERT_EQ(elastic.size(), 1u);
  EXPECT_FALSE(elastic[0].image.has_value());
  const auto texts = transforms_as_text(drawn("random_gamma() random_flip(flip_probability=1)", 1, 2), 2);
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_TRUE(texts[0].starts_with("gamma(gamma=")) << texts[0];
  EXPECT_TRUE(texts[0].ends_with(" flip(axes=0)")) << texts[0];
  EXPECT_NE(texts[0], texts[1]);
  EXPECT_EQ(texts[2], "flip(axes=0)");
}

/// How often each kind comes up, by name; "" for nothing.
std::map<std::string, double> shares(const std::string& text, int samples = 4000) {
  const Augmentation augmentation = Augmentation::parse(text);
  std::map<std::string, double> counts;
  for (int sample = 0; sample < samples; ++sample) {
    Draws draws(17, static_cast<uint64_t>(sample));
    const auto transforms = augmentation.draw(1, draws);
    counts[transforms.empty() ? "" : std::string(transforms.front().kind->name)] += 1.0 / samples;
  }
  return counts;
}

TEST(AugmentationDraws, OneOfTakesEachByItsWeightAndPSkips) {
  const auto seed = shares("seed");
  ASSERT_EQ(seed.size(), 6u);
  EXPECT_NEAR(seed.at(""), 0.3, 0.03);
  for (const auto& [name, share] : seed) {
    if (name.empty()) continue;
    EXPECT_NEAR(share, 0.14, 0.025) << name;
  }
  const auto weighted = shares("one_of(random_gamma(),random_noise(),weights=(3,1))");
  EXPECT_NEAR(weighted.at("gamma"), 0.75, 0.03);
  const auto three = shares("one_of(random_gamma(),random_noise(),random_blur(),weights=(1,5,2))");
  EXPECT_NEAR(three.at("gamma"), 0.125, 0.03);
  EXPECT_NEAR(three.at("noise"), 0.625, 0.03);
  const auto never = shares("one_of(random_gamma(),random_noise(),weights=(0,1))");
  EXPECT_EQ(never.size(), 1u);
  EXPECT_NEAR(shares("compose(random_gamma(),random_noise(),p=0.25)").at(""), 0.75, 0.03);
  EXPECT_NEAR(shares("random_gamma(p=0.25)").at(""), 0.75, 0.03);
  EXPECT_EQ(drawn("compose(random_gamma(),random_noise())").size(), 2u);
}

TEST(AugmentationDraws, DependOnSeedAndStreamAlone) {
  const Augmentation seed = Augmentation::parse("seed");
  const auto text = [&](uint64_t key, uint64_t stream) {
    Draws draws(key, stream);
    std::string all;
    for (const std::string& one : transforms_as_text(seed.draw(4, draws), 4)) all += one + ";";
    return all;
  };
  EXPECT_EQ(text(1, 2), text(1, 2));
  int equal = 0;
  for (uint64_t stream = 0; stream < 20; ++stream) {
    equal += text(1, stream) == text(1, stream + 1);
    equal += text(1, stream) == text(2, stream);
  }
  EXPECT_LE(equal, 8);  // both nothing: 0.09 of the cases
}

/// Correlation of consecutive values of a draw.
TEST(AugmentationDraws, ValuesInARowAreIndependent) {
  Draws draws(5, 9);
  double sum = 0, before = draws.uniform(-1, 1);
  const int count = 20000;
  for (int i = 0; i < count; ++i) {
    const double value = draws.uniform(-1, 1);
    sum += value * before;
    before = value;
  }
  EXPECT_NEAR(sum / count * 3, 0, 5 / std::sqrt(count));
}

/// The largest shift along j of voxels of a face (away from its edges), in voxels.
double largest_shift(const std::string& parameters, bool face_of_k) {
  Image ramp{{{30, 28, 26}, Geometry{}.affine}, {}};  // the value is j
  for (int64_t v = 0; v < ramp.geometry.voxels(); ++v) ramp.voxels.push_back(static_cast<float>(v / 30 % 28));
  const Image moved = apply_transforms(
      drawn("elastic(num_control_points=7,max_displacement=(0,6,0),locked_borders=2" + parameters + ")"),
      ramp);
  double largest = 0;
  for (int64_t j = 9; j < 19; ++j) {
    for (int64_t a = 9; a < 17; ++a) {
      const int64_t v = face_of_k ? ramp.geometry.index(a, j, 0) : ramp.geometry.index(0, j, a);
      largest =
          std::max<double>(largest, std::abs(moved.voxels[static_cast<size_t>(v)] - static_cast<float>(j)));
    }
  }
  return largest;
}

// Of the four control points that act on a face two are locked; the others weigh at most 0.22 there.
TEST(AugmentationDraws, ElasticBordersAreLockedAndWithCompatOneAxisIsNot) {
  double open = 0;
  for (int seed = 0; seed < 8; ++seed) {
    const std::string text = ",seed=" + std::to_string(seed);
    EXPECT_LT(largest_shift(text, true), 0.22 * 6);
    EXPECT_LT(largest_shift(text, false), 0.22 * 6);
    EXPECT_LT(largest_shift(text + ",locked_axes=(0,1)", false), 0.22 * 6);
    open = std::max(open, largest_shift(text + ",locked_axes=(0,1)", true));
  }
  EXPECT_GT(open, 0.22 * 6);
}

// ---- Several transforms in a row. ----

TEST(ApplyTransforms, InOrderForSingleImagesAndAll) {
  const int64_t d = 5, h = 4, w = 7, voxels = d * h * w;
  std::vector<float> x(static_cast<size_t>(3 * voxels)), y(x.size(), -1);
  std::vector<uint8_t> labels(static_cast<size_t>(voxels)), moved(labels.size(), 9);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(1 + i % 101);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<uint8_t>(i % 4);
  const auto one = [](const std::string& text, std::optional<int64_t> image) {
    AppliedTransform transform = drawn(text).front();
    transform.image = image;
    return transform;
  };
  const std::vector<AppliedTransform> transforms = {
      one("noise(mean=1,std=0,seed=1)", 0), one("noise(mean=2,std=0,seed=1)", 2),
      one("flip(axes=2)", std::nullopt), one("noise(mean=4,std=0,seed=1)", 0), one("gamma(gamma=1)", 0)};
  kernels::Workspace workspace(kernels::DeviceKind::cpu);
  apply_transforms(transforms,
                   {kernels::contiguous_view(y.data(), 3, d, h, w, 1),
                    kernels::contiguous_view(moved.data(), 1, d, h, w, 1)},
                   {kernels::contiguous_view<const float>(x.data(), 3, d, h, w, 1),
                    kernels::contiguous_view<const uint8_t>(labels.data(), 1, d, h, w, 1)},
                   {{d, h, w}, Geometry{}.affine},
                   {.device = kernels::DeviceKind::cpu, .workspace = &workspace});
  const float added[] = {5, 0, 2};
  for (int64_t c = 0; c < 3; ++c) {
    for (int64_t v = 0; v < voxels; ++v) {
      const int64_t mirrored = v / w * w + (w - 1 - v % w);
      ASSERT_NEAR(y[static_cast<size_t>(c * voxels + v)],
                  x[static_cast<size_t>(c * voxels + mirrored)] + added[c], 1e-3)
          << c << " " << v;
      ASSERT_EQ(moved[static_cast<size_t>(v)], labels[static_cast<size_t>(mirrored)]);
    }
  }
}

// ---- Text. ----

TEST(AugmentationText, ThereAndBack) {
  for (const std::string text :
       {"random_ghosting(intensity=0.5)", "one_of(random_spike(intensity=1), random_elastic(), p=0.7)",
        "flip(axes=(0,2)) noise(mean=0.1,std=0.25,seed=12345678901)"}) {
    const Augmentation first = Augmentation::parse(text), second = Augmentation::parse(first.text());
    EXPECT_EQ(first.text(), second.text());
  }
  for (const std::string preset : {"seed", "seed_compat", "standard"})
    EXPECT_EQ(Augmentation::parse(Augmentation::parse(preset).text()).text(),
              std::string(augmentation_preset(preset).value()));
  EXPECT_EQ(Augmentation::parse("standard random_spike()").text(),
            std::string(augmentation_preset("standard").value()) + " random_spike()");
  EXPECT_EQ(Augmentation::parse("none").text(), "none");
  EXPECT_TRUE(Augmentation::parse("none").empty());
  EXPECT_EQ(drawn("noise(mean=0.1,std=0.25,seed=12345678901)").front().text(),
            "noise(mean=0.1,std=0.25,seed=12345678901)");
  EXPECT_EQ(drawn("flip(axes=())").front().text(), "flip(axes=())");
}

TEST(AugmentationText, ErrorsNameTheTransformTheParameterAndTheMend) {
  const auto error = [](const std::string& text, std::initializer_list<std::string> parts) {
    expect_error<std::invalid_argument>([&] { Augmentation::parse(text); }, parts);
  };
  error("random_gosting()", {"random_gosting", "random_ghosting"});
  error("random_ghosting(intensty=1)", {"random_ghosting", "intensty", "intensity"});
  error("ghosting(axis=1,intensity=1)", {"ghosting", "num_ghosts is missing"});
  error("random_ghosting(intensity=(1,0.5))", {"intensity", "a <= b"});
  error("random_ghosting(intensity=-1)", {"intensity", "-1"});
  error("random_ghosting(axes=3)", {"axis", "3", "0, 1 or 2"});
  error("random_gamma(p=1.5)", {"p", "1.5"});
  error("one_of()", {"one_of", "no transform"});
  error("one_of(random_gamma(),weights=(1,2))", {"weights", "1 numbers"});
  error("random_gamma(log_gamma=(1,2", {"character", "closing parenthesis"});
  error("random_gamma(log_gamma=0.1x)", {"character 27"});
  error("random_gamma(0.3)", {"random_gamma", "log_gamma="});
  error("random_elastic(num_control_points=3)", {"num_control_points", "3"});
  error("random_elastic(num_control_points=4)", {"locked"});
  error("random_motion(num_transforms=0)", {"num_transforms"});
  const Image image{{{4, 4, 4}, Geometry{}.affine}, std::vector<float>(64, 1.0f)};
  expect_error<std::invalid_argument>(
      [&] { apply_transforms(drawn("ghosting(num_ghosts=2,axis=5,intensity=1)"), image); },
      {"ghosting", "axis", "5"});
  expect_error<std::invalid_argument>(
      [&] { apply_transforms(drawn("bias_field(coefficients=(1,2))"), image); },
      {"bias_field", "coefficients"});
  expect_error<std::invalid_argument>(
      [&] { apply_transforms(drawn("motion(times=0.5,degrees=(1,2),translation=(0,0,0))"), image); },
      {"motion", "three"});
  expect_error<std::invalid_argument>([&] { apply_transforms(drawn("affine(scales=0)"), image); },
                                      {"affine", "scales"});
}

}  // namespace
}  // namespace vg::data
