#include "nets/architecture.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/common/check.h"

namespace vg {

using kernels::require;

void check(const Architecture& a) {
  constexpr int64_t largest = 1 << 16;
  const auto in_range = [](int64_t v) { return v >= 1 && v <= largest; };
  require(a.name == "attention_unet" || a.name == "unet", "architecture: name is '", a.name,
          "', expected attention_unet or unet");
  require(in_range(a.in_channels), "architecture: in_channels is ", a.in_channels, ", expected 1 to ",
          largest);
  require(in_range(a.out_channels), "architecture: out_channels is ", a.out_channels, ", expected 1 to ",
          largest);
  require(a.channels.size() >= 2 && a.channels.size() <= 8, "architecture: channels has ", a.channels.size(),
          " levels, expected 2 to 8");
  // The attention gate works on half of a level's channels, so that one channel would leave none.
  const int64_t smallest = a.name == "attention_unet" ? 2 : 1;
  for (size_t i = 0; i < a.channels.size(); ++i) {
    const int64_t least = i + 1 < a.channels.size() ? smallest : 1;
    require(a.channels[i] >= least && a.channels[i] <= largest, "architecture: channels[", i, "] is ",
            a.channels[i], ", expected ", least, " to ", largest);
  }
  require(a.strides.size() + 1 == a.channels.size(), "architecture: strides has ", a.strides.size(),
          " values, expected ", a.channels.size() - 1, ", one fewer than channels");
  for (size_t i = 0; i < a.strides.size(); ++i)
    require(a.strides[i] == 2, "architecture: strides[", i, "] is ", a.strides[i], ", expected 2");
  require(std::isfinite(a.dropout) && a.dropout >= 0 && a.dropout < 1, "architecture: dropout is ", a.dropout,
          ", expected at least 0 and less than 1");
}

std::string to_json(const Architecture& a) {
  nlohmann::ordered_json json;
  json["name"] = a.name;
  json["in_channels"] = a.in_channels;
  json["out_channels"] = a.out_channels;
  json["channels"] = a.channels;
  json["strides"] = a.strides;
  json["dropout"] = a.dropout;
  return json.dump();
}

namespace {

int64_t integer(const nlohmann::json& value, const std::string& field) {
  require(value.is_number_integer(), "architecture: ", field, " is ", value.dump(), ", expected an integer");
  return value.get<int64_t>();
}

std::vector<int64_t> integers(const nlohmann::json& value, const std::string& field) {
  require(value.is_array(), "architecture: ", field, " is ", value.dump(), ", expected a list of integers");
  std::vector<int64_t> result;
  for (const nlohmann::json& v : value)
    result.push_back(integer(v, field + "[" + std::to_string(result.size()) + "]"));
  return result;
}

}  // namespace

Architecture architecture_from_json(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  require(json.is_object(), "architecture: expected a JSON object, found '", text.substr(0, 80), "'");
  Architecture a;
  bool strides_given = false;
  for (const auto& [key, value] : json.items()) {
    if (key == "name") {
      require(value.is_string(), "architecture: name is ", value.dump(), ", expected a string");
      a.name = value.get<std::string>();
    } else if (key == "in_channels") {
      a.in_channels = integer(value, key);
    } else if (key == "out_channels") {
      a.out_channels = integer(value, key);
    } else if (key == "channels") {
      a.channels = integers(value, key);
    } else if (key == "strides") {
      a.strides = integers(value, key);
      strides_given = true;
    } else if (key == "dropout") {
      require(value.is_number(), "architecture: dropout is ", value.dump(), ", expected a number");
      a.dropout = value.get<double>();
    } else {
      require(false, "architecture: unknown field '", key,
              "', expected name, in_channels, out_channels, channels, strides or dropout");
    }
  }
  if (!strides_given) a.strides.assign(std::max<size_t>(a.channels.size(), 1) - 1, 2);
  check(a);
  return a;
}

namespace {

/// The tensors of a state dict by name, with the questions that reading an architecture asks.
class Weights {
 public:
  explicit Weights(const std::vector<NamedTensor>& state) {
    for (const auto& [name, tensor] : state) shapes_[name] = tensor.shape();
  }
  [[nodiscard]] bool has(const std::string& name) const { return shapes_.contains(name); }
  /// Channels (first, second) of a convolution's weight with a cubic kernel.
  [[nodiscard]] std::array<int64_t, 2> channels(const std::string& name, int64_t kernel_size) const {
    const auto it = shapes_.find(name);
    require(it != shapes_.end(), "architecture: tensor '", name, "' is missing");
    const Shape& s = it->second;
    require(s.size() == 5 && s[2] == kernel_size && s[3] == kernel_size && s[4] == kernel_size,
            "architecture: tensor '", name, "' has shape ", to_string(s), ", expected a 3D kernel of size ",
            kernel_size);
    return {s[0], s[1]};
  }

 private:
  std::map<std::string, Shape> shapes_;
};

Architecture read_attention_unet(const Weights& weights) {
  Architecture a;
  const auto [first, in_channels] = weights.channels("model.0.conv.0.conv.weight", 3);
  a.in_channels = in_channels;
  a.channels = {first};
  std::string level = "model.1.submodule.";
  while (weights.has(level + "0.conv.0.conv.weight")) {
    a.channels.push_back(weights.channels(level + "0.conv.0.conv.weight", 3)[0]);
    level += "1.submodule.";
  }
  a.channels.push_back(weights.channels(level + "conv.0.conv.weight", 3)[0]);
  a.out_channels = weights.channels("model.2.conv.weight", 1)[0];
  return a;
}

Architecture read_unet(const Weights& weights) {
  Architecture a;
  a.name = "unet";
  const auto [first, in_channels] = weights.channels("model.0.conv.weight", 3);
  a.in_channels = in_channels;
  a.channels = {first};
  std::string level = "model.1.submodule.";
  while (weights.has(level + "0.conv.weight")) {
    a.channels.push_back(weights.channels(level + "0.conv.weight", 3)[0]);
    level += "1.submodule.";
  }
  a.channels.push_back(weights.channels(level + "conv.weight", 3)[0]);
  a.out_channels = weights.channels("model.2.conv.weight", 3)[1];  // transposed: (in, out, k, k, k)
  return a;
}

}  // namespace

Architecture architecture_from_state(const std::vector<NamedTensor>& state) {
  const Weights weights(state);
  const bool attention = weights.has("model.0.conv.0.conv.weight");
  require(attention || weights.has("model.0.conv.weight"),
          "architecture: the state dict has neither 'model.0.conv.0.conv.weight' (AttentionUnet) nor "
          "'model.0.conv.weight' (UNet); its first tensor is '",
          state.empty() ? "" : state.front().first, "'");
  Architecture a = attention ? read_attention_unet(weights) : read_unet(weights);
  a.strides.assign(a.channels.size() - 1, 2);
  check(a);
  return a;
}

}  // namespace vg
