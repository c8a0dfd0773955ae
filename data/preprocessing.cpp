#include "data/preprocessing.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "data/byte_source.h"
#include "data/transform_text.h"

namespace vg::data {
namespace {

constexpr std::string_view nonzero_word = "nonzero";

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

/// A step's name and what stands in its parentheses.
struct StepCall {
  std::string_view text, name;
  std::vector<double> numbers;
  bool nonzero = false;
};

[[noreturn]] void throw_bad_step(std::string_view text, std::string_view expected) {
  throw std::invalid_argument(join_text("preprocessing: found \"", text, "\", expected ", expected));
}

constexpr std::string_view known_steps =
    "to_canonical, rescale(min,max[,lower,upper percentile][,nonzero]), z_normalize[(nonzero)], crop(6 "
    "numbers), "
    "pad(6 numbers), resample(mm or 3 of them), shape_multiple(n or 3 of them), or a preset: seed, brats, "
    "none";

StepCall step_call(const Call& call) {
  StepCall step{call.text, call.name, {}, false};
  for (const ParameterValue& value : call.positional) {
    if (value.word == nonzero_word) {
      step.nonzero = true;
    } else if (value.numbers.size() == 1) {
      step.numbers.push_back(value.numbers[0]);
    } else {
      throw_bad_step(call.text, "numbers within parentheses");
    }
  }
  if (!call.parameters.items().empty() || !call.calls.empty())
    throw_bad_step(call.text, "numbers within parentheses");
  return step;
}

int64_t whole(const StepCall& call, double number) {
  if (!(number >= 0 && number <= 65535) || number != static_cast<double>(static_cast<int64_t>(number)))
    throw_bad_step(call.text, "whole numbers from 0 to 65535");
  return static_cast<int64_t>(number);
}

Bounds six_bounds(const StepCall& call) {
  if (call.numbers.size() != 6) throw_bad_step(call.text, "6 numbers: begin and end of each axis");
  Bounds bounds;
  for (size_t i = 0; i < 6; ++i) bounds[i] = whole(call, call.numbers[i]);
  return bounds;
}

std::array<double, 3> three(const StepCall& call) {
  if (call.numbers.size() != 1 && call.numbers.size() != 3) throw_bad_step(call.text, "1 number or 3");
  const std::vector<double>& n = call.numbers;
  const std::array<double, 3> result =
      n.size() == 1 ? std::array{n[0], n[0], n[0]} : std::array{n[0], n[1], n[2]};
  for (const double number : result)
    if (!(number > 0)) throw_bad_step(call.text, "numbers above 0");
  return result;
}

RescaleStep rescale_step(const StepCall& call) {
  if (call.numbers.size() != 2 && call.numbers.size() != 4)
    throw_bad_step(call.text, "2 numbers (minimum and maximum) or 4 (and the two percentiles)");
  RescaleStep step;
  step.params.out_min = static_cast<float>(call.numbers[0]);
  step.params.out_max = static_cast<float>(call.numbers[1]);
  if (call.numbers.size() == 4) {
    step.params.lower_percentile = call.numbers[2];
    step.params.upper_percentile = call.numbers[3];
  }
  step.params.nonzero_only = call.nonzero;
  return step;
}

Step parse_step(const Call& parsed) {
  const StepCall call = step_call(parsed);
  const std::string_view text = call.text;
  if (call.nonzero && call.name != "rescale" && call.name != "z_normalize")
    throw_bad_step(text, "\"nonzero\" in intensity steps only");
  if (call.name == "rescale") return rescale_step(call);
  if (call.name == "crop") return CropStep{six_bounds(call)};
  if (call.name == "pad") return PadStep{six_bounds(call)};
  if (call.name == "resample") return ResampleStep{three(call)};
  if (call.name == "shape_multiple") {
    const std::array<double, 3> n = three(call);
    return ShapeMultipleStep{{whole(call, n[0]), whole(call, n[1]), whole(call, n[2])}};
  }
  if ((call.name == "to_canonical" || call.name == "z_normalize") && !call.numbers.empty())
    throw_bad_step(text, "no numbers");
  if (call.name == "to_canonical") return ToCanonicalStep{};
  if (call.name == "z_normalize") return ZNormalizeStep{call.nonzero};
  throw_bad_step(text, known_steps);
}

/// Shortest text that reads back as the same number.
template <class Number>
std::string show(Number number) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), number);
  return {buffer, result.ptr};
}

template <class Numbers>
std::string show_list(const Numbers& numbers) {
  std::string text;
  for (const auto number : numbers) text += (text.empty() ? "" : ",") + show(number);
  return text;
}

/// One number where all three agree.
template <class T>
std::string show_three(const std::array<T, 3>& numbers) {
  return numbers[0] == numbers[1] && numbers[0] == numbers[2] ? show(numbers[0]) : show_list(numbers);
}

std::string text_of(const Step& step) {
  return std::visit(
      Overloaded{[](const ToCanonicalStep&) -> std::string { return "to_canonical"; },
                 [](const RescaleStep& s) {
                   const RescaleParams& p = s.params;
                   std::string text = "rescale(" + show(p.out_min) + "," + show(p.out_max);
                   if (p.lower_percentile != 0 || p.upper_percentile != 100)
                     text += "," + show(p.lower_percentile) + "," + show(p.upper_percentile);
                   return text + (p.nonzero_only ? ",nonzero)" : ")");
                 },
                 [](const ZNormalizeStep& s) -> std::string {
                   return s.nonzero_only ? "z_normalize(nonzero)" : "z_normalize";
                 },
                 [](const CropStep& s) { return "crop(" + show_list(s.bounds) + ")"; },
                 [](const PadStep& s) { return "pad(" + show_list(s.bounds) + ")"; },
                 [](const ResampleStep& s) { return "resample(" + show_three(s.spacing) + ")"; },
                 [](const ShapeMultipleStep& s) { return "shape_multiple(" + show_three(s.multiple) + ")"; }},
      step);
}

Geometry geometry_after(const Step& step, const Geometry& before) {
  return std::visit(
      Overloaded{[&](const ToCanonicalStep&) { return canonical_geometry(before); },
                 [&](const RescaleStep&) { return before; }, [&](const ZNormalizeStep&) { return before; },
                 [&](const CropStep& s) { return cropped_geometry(before, s.bounds); },
                 [&](const PadStep& s) { return padded_geometry(before, s.bounds); },
                 [&](const ResampleStep& s) { return resampled_geometry(before, s.spacing); },
                 [&](const ShapeMultipleStep& s) {
                   return padded_geometry(before, padding_to_multiple(before, s.multiple));
                 }},
      step);
}

/// `volume` after the step.
template <class T>
Volume<T> applied(const Step& step, Volume<T> volume, const Warn& warn) {
  return std::visit(
      Overloaded{[&](const ToCanonicalStep&) { return to_canonical(volume); },
                 [&](const RescaleStep& s) {
                   if constexpr (std::is_same_v<T, float>)
                     return rescale_intensity(volume, s.params, warn);
                   else
                     return std::move(volume);
                 },
                 [&](const ZNormalizeStep& s) {
                   if constexpr (std::is_same_v<T, float>)
                     return z_normalize(volume, s.nonzero_only);
                   else
                     return std::move(volume);
                 },
                 [&](const CropStep& s) { return crop(volume, s.bounds); },
                 [&](const PadStep& s) { return pad(volume, s.bounds); },
                 [&](const ResampleStep& s) { return resample(volume, s.spacing); },
                 [&](const ShapeMultipleStep& s) { return ensure_shape_multiple(volume, s.multiple); }},
      step);
}

/// `volume` back on `before`, the grid that the step was given.
template <class T>
Volume<T> undone(const Step& step, Volume<T> volume, const Geometry& before, T outside) {
  return std::visit(
      Overloaded{
          [&](const ToCanonicalStep&) { return from_canonical(volume, before); },
          [&](const RescaleStep&) { return std::move(volume); },
          [&](const ZNormalizeStep&) { return std::move(volume); },
          [&](const CropStep& s) { return pad(volume, s.bounds, outside); },
          [&](const PadStep& s) { return crop(volume, s.bounds); },
          [&](const ResampleStep&) { return resample_to(volume, before, default_interpolation<T>, outside); },
          [&](const ShapeMultipleStep& s) { return crop(volume, padding_to_multiple(before, s.multiple)); }},
      step);
}

template <class T>
Volume<T> inverted(const std::vector<Step>& steps, Volume<T> volume, const Geometry& original, T outside) {
  std::vector<Geometry> grids{original};
  for (const Step& step : steps) grids.push_back(geometry_after(step, grids.back()));
  const auto &found = volume.geometry.extent, &expected = grids.back().extent;
  if (found != expected)
    throw std::invalid_argument(join_text("preprocessing: found a volume of ", found[0], "x", found[1], "x",
                                          found[2], " to map back, expected ", expected[0], "x", expected[1],
                                          "x", expected[2]));
  volume.geometry = grids.back();
  for (size_t i = steps.size(); i-- > 0;) {
    volume = undone(steps[i], std::move(volume), grids[i], outside);
    volume.geometry = grids[i];  // to the last bit: affines are not recomputed on the way back
  }
  return volume;
}

}  // namespace

Preprocessing Preprocessing::parse(std::string_view text) {
  std::vector<Step> steps;
  for (const Call& call : parse_calls(text)) {
    if (call.text == "seed" || call.text == "brats" || call.text == "none") {
      const Preprocessing preset = preprocessing_preset(call.name);
      steps.insert(steps.end(), preset.steps().begin(), preset.steps().end());
    } else {
      steps.push_back(parse_step(call));
    }
  }
  return Preprocessing(std::move(steps));
}

std::string Preprocessing::text() const {
  std::string text;
  for (const Step& step : steps_) text += (text.empty() ? "" : " ") + text_of(step);
  return text.empty() ? "none" : text;
}

Preprocessing Preprocessing::padded_to_multiple(int64_t multiple) const {
  const auto* const last = steps_.empty() ? nullptr : std::get_if<ShapeMultipleStep>(&steps_.back());
  const auto fits = [multiple](int64_t n) { return n % multiple == 0; };
  if (multiple == 1 || (last != nullptr && std::all_of(last->multiple.begin(), last->multiple.end(), fits)))
    return *this;
  std::vector<Step> steps = steps_;
  steps.emplace_back(ShapeMultipleStep{{multiple, multiple, multiple}});
  return Preprocessing(std::move(steps));
}

Image Preprocessing::apply(const Image& image, const Warn& warn) const {
  Image result = image;
  for (const Step& step : steps_) result = applied(step, std::move(result), warn);
  return result;
}

LabelMap Preprocessing::apply(const LabelMap& labels) const {
  LabelMap result = labels;
  for (const Step& step : steps_) result = applied(step, std::move(result), {});
  return result;
}

Geometry Preprocessing::output_geometry(const Geometry& original) const {
  Geometry geometry = original;
  for (const Step& step : steps_) geometry = geometry_after(step, geometry);
  return geometry;
}

LabelMap Preprocessing::invert(const LabelMap& labels, const Geometry& original, uint8_t outside) const {
  return inverted(steps_, labels, original, outside);
}

Image Preprocessing::invert(const Image& probability, const Geometry& original, float outside) const {
  return inverted(steps_, probability, original, outside);
}

std::vector<std::string> preprocessing_names() {
  return {"to_canonical", "rescale",        "z_normalize", "crop",  "pad",
          "resample",     "shape_multiple", "seed",        "brats", "none"};
}

Preprocessing preprocessing_preset(std::string_view name) {
  if (name == "none") return {};
  if (name == "brats")
    return Preprocessing({ToCanonicalStep{}, ZNormalizeStep{true}, CropStep{{45, 45, 17, 35, 13, 24}},
                          ResampleStep{{1.5, 1.5, 1.5}}, ShapeMultipleStep{{16, 16, 16}}});
  if (name == "seed")
    return Preprocessing({ToCanonicalStep{}, RescaleStep{}, CropStep{{45, 45, 17, 35, 13, 24}},
                          ResampleStep{{1.5, 1.5, 1.5}}, ShapeMultipleStep{{16, 16, 16}}});
  throw std::invalid_argument(
      join_text("preprocessing preset: found \"", name, "\", expected seed, brats or none"));
}

}  // namespace vg::data
