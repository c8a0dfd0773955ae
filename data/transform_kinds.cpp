#include "data/transform_kinds.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "data/byte_source.h"
#include "data/nearest_name.h"
#include "kernels/common/philox.h"

namespace vg::data {

uint64_t Draws::next() {
  const kernels::Uint4 r = kernels::philox(seed_, drawn_++, stream_);
  return (uint64_t{r.x} << 32) | r.y;
}

double Draws::uniform(double low, double high) {
  const double share = static_cast<double>(next() >> 40) * 0x1p-24;  // exact in a float
  return low + (high - low) * share;
}

int64_t Draws::integer(int64_t low, int64_t high) {
  // The remainder's bias is below 2^-50 for any range that transforms use.
  return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
}

double Draws::seed() {
  return static_cast<double>(next() >> 33);
}

std::span<const TransformKind> transform_kinds() {
  static const std::vector<TransformKind> kinds = [] {
    std::vector<TransformKind> all = intensity_kinds();
    for (TransformKind& kind : spatial_kinds()) all.push_back(std::move(kind));
    return all;
  }();
  return kinds;
}

Parameters complete(std::string_view transform, const Parameters& given,
                    std::span<const ParameterSpec> specs) {
  for (const auto& [name, value] : given.items()) {
    const auto known = [&](const ParameterSpec& spec) { return spec.name == name; };
    if (std::any_of(specs.begin(), specs.end(), known)) continue;
    std::vector<std::string> names;
    for (const ParameterSpec& spec : specs) names.emplace_back(spec.name);
    throw std::invalid_argument(join_text("transform ", transform, ": found \"", name, "\"",
                                          names.empty()
                                              ? "; it takes no parameters"
                                              : "; did you mean \"" + nearest_name(name, names) + "\"?"));
  }
  Parameters completed;
  for (const ParameterSpec& spec : specs) {
    const std::string name(spec.name);
    if (given.has(name)) {
      completed.set(name, given.value(name));
    } else if (spec.fallback.empty()) {
      throw std::invalid_argument(join_text("transform ", transform, ": ", name, " is missing (",
                                            spec.meaning, "), e.g. ", transform, "(", name, "=...)"));
    } else if (spec.fallback != "none") {
      const Call call = parse_calls(join_text("default(", name, "=", spec.fallback, ")")).front();
      completed.set(name, call.parameters.value(name));
    }
  }
  return completed;
}

std::pair<double, double> range(const Parameters& arguments, std::string_view name, Scalar scalar,
                                double least, double most) {
  const std::vector<double>& n = arguments.numbers(name);
  if (n.size() != 1 && n.size() != 2)
    throw std::invalid_argument(join_text(name, ": found ", n.size(), " numbers, expected 1 or 2"));
  if (n.size() == 1 && scalar == Scalar::symmetric && n[0] < 0)
    throw std::invalid_argument(
        join_text(name, ": found ", n[0], ", expected 0 or more for a single number"));
  const double low = n.size() == 2 ? n[0] : (scalar == Scalar::symmetric ? -n[0] : n[0]);
  const double high = n.back();
  if (!(low <= high) || !(low >= least) || !(high <= most)) {
    throw std::invalid_argument(join_text(name, ": found (", low, ",", high,
                                          "), expected a range (a,b), a <= b",
                                          least > -1e30 ? join_text(", from ", least) : std::string(),
                                          most < 1e30 ? join_text(" to ", most) : std::string()));
  }
  return {low, high};
}

std::array<std::pair<double, double>, 3> three_ranges(const Parameters& arguments, std::string_view name,
                                                      double around, double least) {
  const std::vector<double>& n = arguments.numbers(name);
  const auto about = [&](double d) { return std::pair{around - d, around + d}; };
  std::array<std::pair<double, double>, 3> ranges;
  for (size_t axis = 0; axis < 3; ++axis) {
    if (n.size() == 1) ranges[axis] = about(n[0]);
    if (n.size() == 2) ranges[axis] = {n[0], n[1]};
    if (n.size() == 3) ranges[axis] = about(n[axis]);
    if (n.size() == 6) ranges[axis] = {n[2 * axis], n[2 * axis + 1]};
  }
  if (n.size() != 1 && n.size() != 2 && n.size() != 3 && n.size() != 6)
    throw std::invalid_argument(join_text(name, ": found ", n.size(), " numbers, expected 1, 2, 3 or 6"));
  for (const auto& [low, high] : ranges) {
    if (!(low <= high) || !(low >= least))
      throw std::invalid_argument(join_text(name, ": found a range (", low, ",", high, "), expected a <= b",
                                            least > -1e30 ? join_text(" and a >= ", least) : std::string()));
  }
  return ranges;
}

}  // namespace vg::data
