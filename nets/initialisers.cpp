#include "nets/initialisers.h"

#include <cmath>
#include <map>
#include <stdexcept>

namespace vg {

namespace {

bool ends_with(const std::string& name, const std::string& suffix) {
  return name == suffix || name.ends_with("." + suffix);
}

/// The range r of a convolution's U(-r, r), for its weight and its bias.
float uniform_range(const Shape& weight) {
  return 1 / std::sqrt(static_cast<float>(weight[1] * weight[2] * weight[3] * weight[4]));
}

}  // namespace

void initialise(const Module& network, Rng& rng) {
  const std::vector<NamedTensor> state = network.state();
  const std::map<std::string, Tensor> by_name(state.begin(), state.end());
  for (const auto& [name, tensor] : state) {
    const std::string owner = name.substr(0, name.rfind('.') + 1);
    if (ends_with(name, "weight") && tensor.shape().size() == 5) {
      const float range = uniform_range(tensor.shape());
      rng.uniform(tensor, -range, range);
    } else if (ends_with(name, "weight")) {
      tensor.fill(by_name.contains(owner + "bias") ? 1.0f : 0.25f);
    } else if (ends_with(name, "bias")) {
      const Shape& weight = by_name.at(owner + "weight").shape();
      if (weight.size() == 5) {
        const float range = uniform_range(weight);
        rng.uniform(tensor, -range, range);
      } else {
        tensor.fill(0);
      }
    } else if (ends_with(name, "running_mean") || ends_with(name, "num_batches_tracked")) {
      if (tensor.dtype() == DType::int64) {
        tensor.copy_from(Tensor::zeros(tensor.shape(), DType::int64));
      } else {
        tensor.fill(0);
      }
    } else if (ends_with(name, "running_var")) {
      tensor.fill(1);
    } else {
      throw std::logic_error("initialise: do not know what '" + name + "' is");
    }
  }
}

}  // namespace vg
