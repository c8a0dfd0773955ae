#pragma once

#include <cmath>
#include <cstdint>

namespace exercise::adam {

struct Options {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0;
};

struct Factors {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, decay, step_size, root_factor, epsilon;
};

inline Factors factors_of(const Options& options, int64_t step) {
  const auto t = static_cast<double>(step);
  return {static_cast<float>(options.beta1),
          static_cast<float>(1 - options.beta1),
          static_cast<float>(options.beta2),
          static_cast<float>(1 - options.beta2),
          static_cast<float>(1 - options.learning_rate * options.weight_decay),
          static_cast<float>(options.learning_rate / (1 - std::pow(options.beta1, t))),
          static_cast<float>(1 / std::sqrt(1 - std::pow(options.beta2, t))),
          static_cast<float>(options.epsilon)};
}

inline void adamw_element(float& p, float& m, float& v, float g, const Factors& f) {
  p *= f.decay;
  m = f.beta1 * m + f.one_minus_beta1 * g;
  v = f.beta2 * v + f.one_minus_beta2 * g * g;
  p -= f.step_size * m / (std::sqrt(v) * f.root_factor + f.epsilon);
}

}  // namespace exercise::adam
