// Transforms as text: calls such as `ghosting(num_ghosts=6,axis=1)` or
// `one_of(random_spike(intensity=1),random_elastic,p=0.7)`, and their named parameters.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vg::data {

/// What a parameter is given: numbers, written 3 or (1,2,3), or else a word.
struct ParameterValue {
  std::vector<double> numbers;
  std::string word;
  bool operator==(const ParameterValue&) const = default;
};

/// Named values in a fixed order. Numbers that are not whole are kept as float has them, so that text() and
/// parse_calls() give the same numbers there and back (positional values are doubles).
class Parameters {
 public:
  /// Adds the value, or replaces the one of that name.
  void set(std::string name, ParameterValue value);
  void set(std::string name, double number) { set(std::move(name), ParameterValue{{number}, {}}); }
  void set(std::string name, std::vector<double> numbers) {
    set(std::move(name), ParameterValue{std::move(numbers), {}});
  }
  void set_word(std::string name, std::string word) {
    set(std::move(name), ParameterValue{{}, std::move(word)});
  }

  [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }
  /// These throw std::invalid_argument, naming the parameter, unless it is there and of that kind.
  [[nodiscard]] const ParameterValue& value(std::string_view name) const;
  [[nodiscard]] double number(std::string_view name) const;
  [[nodiscard]] int64_t integer(std::string_view name) const;
  [[nodiscard]] const std::vector<double>& numbers(std::string_view name) const;
  /// One number for all three axes, or three.
  [[nodiscard]] std::array<double, 3> three(std::string_view name) const;

  [[nodiscard]] const std::vector<std::pair<std::string, ParameterValue>>& items() const { return items_; }
  /// name=value,name=(value,value)
  [[nodiscard]] std::string text() const;
  bool operator==(const Parameters&) const = default;

 private:
  [[nodiscard]] const ParameterValue* find(std::string_view name) const;
  std::vector<std::pair<std::string, ParameterValue>> items_;
};

/// name(arguments): positional values, named parameters and calls within.
struct Call {
  std::string name;
  std::vector<ParameterValue> positional;
  Parameters parameters;
  std::vector<Call> calls;
  std::string text;  ///< as it was written
};

/// The calls of a text, separated by blanks; blanks within parentheses do not matter. Throws
/// std::invalid_argument that shows the place where it cannot be read. A word without parentheses is a call
/// at the top and a positional value within.
std::vector<Call> parse_calls(std::string_view text);

}  // namespace vg::data
