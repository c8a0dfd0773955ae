#include "data/augmentation.h"

#include <algorithm>
#include <stdexcept>

#include "data/byte_source.h"
#include "data/nearest_name.h"

namespace vg::data {
namespace {

constexpr std::string_view random_prefix = "random_";

/// What every node takes beside its own parameters.
constexpr std::string_view probability_name = "p", weights_name = "weights";

double taken_probability(const Call& call) {
  if (!call.parameters.has(probability_name)) return 1;
  const double p = call.parameters.number(probability_name);
  if (!(p >= 0 && p <= 1))
    throw std::invalid_argument(join_text("transform ", call.name, ": p: found ", p, ", expected 0 to 1"));
  return p;
}

Parameters without(const Parameters& parameters, std::string_view name) {
  Parameters rest;
  for (const auto& [key, value] : parameters.items()) {
    if (key != name) rest.set(key, value);
  }
  return rest;
}

const TransformKind& kind_named(const std::string& name) {
  const bool random = name.starts_with(random_prefix);
  const std::string_view bare = random ? std::string_view(name).substr(random_prefix.size()) : name;
  for (const TransformKind& kind : transform_kinds()) {
    if (kind.name == bare) return kind;
  }
  throw std::invalid_argument(join_text("transform \"", name, "\" is not known; did you mean \"",
                                        nearest_name(name, augmentation_names()), "\"?"));
}

std::vector<double> taken_weights(const Call& call) {
  std::vector<double> weights(call.calls.size(), 1);
  if (call.parameters.has(weights_name)) weights = call.parameters.numbers(weights_name);
  double sum = 0;
  for (const double weight : weights) sum += weight >= 0 ? weight : -1e300;
  if (weights.size() != call.calls.size() || !(sum > 0)) {
    throw std::invalid_argument(join_text("transform one_of: weights: expected ", call.calls.size(),
                                          " numbers from 0 up, not all 0, one for each transform"));
  }
  return weights;
}

}  // namespace

std::string AppliedTransform::text() const {
  return join_text(kind->name, "(", parameters.text(), ")");
}

Augmentation::Node Augmentation::parse_node(const Call& call) {
  Node node;
  node.probability = taken_probability(call);
  const Parameters given = without(call.parameters, probability_name);
  if (call.name == "one_of" || call.name == "compose") {
    node.one_of = call.name == "one_of";
    // Within parentheses a transform without parameters is a bare word.
    std::vector<Call> children = call.calls;
    if (!call.positional.empty())
      throw std::invalid_argument(join_text("transform ", call.name, ": found \"",
                                            call.positional.front().word,
                                            "\", expected transforms with "
                                            "parentheses, e.g. random_spike()"));
    if (children.empty())
      throw std::invalid_argument(join_text("transform ", call.name, ": holds no transform"));
    if (node.one_of) node.weights = taken_weights(call);
    for (const auto& [name, value] : given.items()) {
      if (name != weights_name || !node.one_of)
        throw std::invalid_argument(join_text("transform ", call.name, ": found \"", name, "\", expected p",
                                              node.one_of ? " or weights" : ""));
    }
    for (const Call& child : children) node.children.push_back(parse_node(child));
    return node;
  }
  node.kind = &kind_named(call.name);
  node.random = call.name.starts_with(random_prefix);
  const std::vector<ParameterSpec>& specs =
      node.random ? node.kind->random_parameters : node.kind->parameters;
  if (!call.positional.empty() || !call.calls.empty()) {
    throw std::invalid_argument(join_text("transform ", call.text, ": expected named parameters, e.g. ",
                                          call.name, "(", specs.front().name, "=...)"));
  }
  node.parameters = complete(call.name, given, specs);
  if (node.random) {  // ranges that make no sense are found now, not in the middle of an epoch
    Draws draws(0, 0);
    try {
      node.kind->draw(node.parameters, draws);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(join_text("transform ", call.text, ": ", error.what()));
    }
  }
  return node;
}

Augmentation Augmentation::parse(const Call& call) {
  Augmentation result;
  result.nodes_.push_back(parse_node(call));
  result.text_ = call.text;
  return result;
}

Augmentation Augmentation::parse(std::string_view text) {
  std::vector<Call> calls;
  for (const Call& call : parse_calls(text)) {
    const std::vector<Call> more = parse_calls(augmentation_preset(call.text).value_or(call.text));
    calls.insert(calls.end(), more.begin(), more.end());
  }
  Augmentation result;
  for (const Call& call : calls) {
    result.text_ = result.nodes_.empty() ? call.text : result.text_ + " " + call.text;
    result.nodes_.push_back(parse_node(call));
  }
  return result;
}

void Augmentation::draw_node(const Node& node, int64_t images, Draws& draws,
                             std::vector<AppliedTransform>& out) {
  if (node.probability < 1 && draws.uniform(0, 1) > node.probability) return;
  if (node.one_of) {
    double sum = 0;
    for (const double weight : node.weights) sum += weight;
    double place = draws.uniform(0, sum);
    size_t chosen = 0;
    while (chosen + 1 < node.children.size() && place >= node.weights[chosen])
      place -= node.weights[chosen++];
    draw_node(node.children[chosen], images, draws, out);
    return;
  }
  for (const Node& child : node.children) draw_node(child, images, draws, out);
  if (node.kind == nullptr) return;
  if (!node.random) {
    out.push_back({node.kind, node.parameters, std::nullopt});
  } else if (node.kind->for_each_image) {
    for (int64_t image = 0; image < images; ++image)
      out.push_back({node.kind, node.kind->draw(node.parameters, draws), image});
  } else {
    out.push_back({node.kind, node.kind->draw(node.parameters, draws), std::nullopt});
  }
}

std::vector<AppliedTransform> Augmentation::draw(int64_t images, Draws& draws) const {
  std::vector<AppliedTransform> transforms;
  for (const Node& node : nodes_) draw_node(node, images, draws, transforms);
  return transforms;
}

std::vector<std::string> augmentation_names() {
  std::vector<std::string> names = {"one_of", "compose"};
  for (const TransformKind& kind : transform_kinds()) {
    names.emplace_back(kind.name);
    names.push_back(join_text(random_prefix, kind.name));
  }
  return names;
}

std::optional<std::string_view> augmentation_preset(std::string_view name) {
  if (name == "none") return "";
  if (name == "seed") {
    return "one_of(random_ghosting(intensity=0.5),random_spike(intensity=1),random_bias_field(coefficients=0."
           "5),"
           "random_motion(degrees=10,translation=10),random_elastic(),p=0.7)";
  }
  if (name == "seed_compat") {
    return "one_of(random_ghosting(intensity=0.5),random_spike(intensity=1),random_bias_field(coefficients=0."
           "5),"
           "random_motion(degrees=10,translation=10,center=origin),random_elastic(locked_axes=(0,1)),p=0.7)";
  }
  if (name == "standard") {
    return "random_flip(axes=0) random_affine(p=0.2) random_elastic(p=0.1) random_anisotropy(p=0.1) "
           "random_blur(std=(0.5,1),p=0.1) random_gamma(p=0.15) random_noise(std=(0,0.1),p=0.15)";
  }
  return std::nullopt;
}

std::vector<std::string> transforms_as_text(std::span<const AppliedTransform> transforms, int64_t images) {
  std::vector<std::string> texts(static_cast<size_t>(images) + 1);
  const auto add = [](std::string& text, const AppliedTransform& transform) {
    text += (text.empty() ? "" : " ") + transform.text();
  };
  for (const AppliedTransform& transform : transforms) {
    for (int64_t image = 0; image < images; ++image) {
      if (!transform.image || *transform.image == image) add(texts[static_cast<size_t>(image)], transform);
    }
    if (transform.kind->labels != nullptr) add(texts.back(), transform);
  }
  return texts;
}

}  // namespace vg::data
