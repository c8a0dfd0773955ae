#include <adam/step.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/random_data.h"

namespace exercise::adam {
namespace {

struct Exact {
  double p, m = 0, v = 0;
  void step(double g, const Options& o, int64_t t) {
    p -= o.learning_rate * o.weight_decay * p;
    m = o.beta1 * m + (1 - o.beta1) * g;
    v = o.beta2 * v + (1 - o.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(o.beta1, static_cast<double>(t)));
    const double v_hat = v / (1 - std::pow(o.beta2, static_cast<double>(t)));
    p -= o.learning_rate * m_hat / (std::sqrt(v_hat) + o.epsilon);
  }
};

TEST(AdamStep, TheFirstStepIsAsLongAsTheLearningRate) {
  for (const float g : {1e-3f, 1.0f, -50.0f}) {
    float p = 0, m = 0, v = 0;
    adamw_element(p, m, v, g, factors_of(Options{}, 1));
    EXPECT_NEAR(p, std::copysign(1e-3, -g), 2e-8)
        << "gradient " << g << ": both corrections make it lr, whatever g";
  }
}

TEST(AdamStep, MomentsHaveTheExactOneMinusBeta) {
  float p = 0, m = 0, v = 0;
  adamw_element(p, m, v, 1, factors_of(Options{}, 1));
  EXPECT_NEAR(m, 0.1, 1e-8) << "(1 - beta1) g with 1 - beta1 in double";
  EXPECT_NEAR(v, 0.001, 1e-10) << "(1 - beta2) g^2: 1 - 0.999f is off by 1.3e-5 of it";
}

void follow(const Options& options) {
  float p = 0.5f, m = 0, v = 0;
  Exact exact{p};
  double way = 0;
  const auto gradients = vg::test::uniform(1000, 1, -1, 2);
  for (int64_t t = 1; t <= 1000; ++t) {
    const float g = gradients[static_cast<size_t>(t - 1)];
    const double before = exact.p;
    adamw_element(p, m, v, g, factors_of(options, t));
    exact.step(g, options, t);
    way += std::abs(exact.p - before);
    ASSERT_NEAR(p, exact.p, 1e-6 * way + 3e-8 * static_cast<double>(t)) << "after step " << t;
  }
}

TEST(AdamStep, AThousandSteps) {
  follow(Options{});
}

TEST(AdamStep, WeightDecayIsApartFromTheGradient) {
  Options options;
  options.weight_decay = 0.5;
  follow(options);
  float p = 2, m = 0, v = 0;
  adamw_element(p, m, v, 0, factors_of(options, 1));
  EXPECT_FLOAT_EQ(p, 2 * (1 - 1e-3f * 0.5f)) << "with gradient 0, p shrinks by lr * weight_decay";
  EXPECT_EQ(m, 0) << "decay must not enter the moments: that is Adam, not AdamW";
}

}  // namespace
}  // namespace exercise::adam
