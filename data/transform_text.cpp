#include "data/transform_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <stdexcept>

namespace vg::data {
namespace {

/// Whole numbers as they are (a seed has more digits than a float holds), others as float has them.
double kept(double number) {
  return std::trunc(number) == number ? number : static_cast<double>(static_cast<float>(number));
}

std::string show(double number) {
  char buffer[32];
  const auto result = std::trunc(number) == number && std::abs(number) < 1e15
                          ? std::to_chars(buffer, buffer + sizeof(buffer), static_cast<int64_t>(number))
                          : std::to_chars(buffer, buffer + sizeof(buffer), static_cast<float>(number));
  return {buffer, result.ptr};
}

std::string show(const ParameterValue& value) {
  if (!value.word.empty()) return value.word;
  if (value.numbers.size() == 1) return show(value.numbers[0]);
  std::string text = "(";
  for (size_t i = 0; i < value.numbers.size(); ++i) text += (i == 0 ? "" : ",") + show(value.numbers[i]);
  return text + ")";
}

/// Reads calls off the front of a text.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::vector<Call> all() {
    std::vector<Call> calls;
    for (skip_blanks(); at_ < text_.size(); skip_blanks()) {
      const size_t begin = at_;
      calls.push_back(call_after(name(), begin));
    }
    return calls;
  }

 private:
  [[noreturn]] void fail(std::string_view expected) const {
    throw std::invalid_argument(
        "transforms: \"" + std::string(text_) + "\": found " +
        (at_ < text_.size() ? "\"" + std::string(text_.substr(at_, 12)) + "\"" : std::string("the end")) +
        " at character " + std::to_string(at_ + 1) + ", expected " + std::string(expected));
  }
  void skip_blanks() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  bool take(char c) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  static bool in_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
  std::string name() {
    const size_t begin = at_;
    while (at_ < text_.size() && in_name(text_[at_])) ++at_;
    if (begin == at_) fail("a name");
    return std::string(text_.substr(begin, at_ - begin));
  }
  bool at_number() {
    skip_blanks();
    return at_ < text_.size() && (std::isdigit(static_cast<unsigned char>(text_[at_])) != 0 ||
                                  text_[at_] == '-' || text_[at_] == '+' || text_[at_] == '.');
  }
  double number() {
    if (at_number() && text_[at_] == '+') ++at_;
    double value = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc() || !std::isfinite(value)) fail("a number");
    at_ = static_cast<size_t>(end - text_.data());
    if (at_ < text_.size() && in_name(text_[at_])) fail("a comma or parenthesis after a number");
    return value;
  }
  ParameterValue numbers() {
    ParameterValue value;
    if (!take('(')) return {{number()}, {}};
    if (take(')')) return value;
    do {
      skip_blanks();
      value.numbers.push_back(number());
    } while (take(','));
    if (!take(')')) fail("a comma or closing parenthesis");
    return value;
  }
  ParameterValue value() {
    skip_blanks();
    if (at_number() || (at_ < text_.size() && text_[at_] == '(')) return numbers();
    return {{}, name()};
  }

  /// The rest of a call whose name has been read.
  Call call_after(std::string call_name, size_t begin) {
    Call call;
    call.name = std::move(call_name);
    if (at_ < text_.size() && text_[at_] == '(') {
      ++at_;
      if (!take(')')) {
        do argument(call);
        while (take(','));
        if (!take(')')) fail("a comma or closing parenthesis");
      }
    }
    call.text = std::string(text_.substr(begin, at_ - begin));
    return call;
  }

  void argument(Call& call) {
    skip_blanks();
    const size_t begin = at_;
    if (at_number() || (at_ < text_.size() && text_[at_] == '(')) {
      call.positional.push_back(numbers());
      return;
    }
    std::string word = name();
    if (at_ < text_.size() && text_[at_] == '(') {
      call.calls.push_back(call_after(std::move(word), begin));
    } else if (take('=')) {
      if (call.parameters.has(word)) fail("each parameter once (" + word + ")");
      call.parameters.set(std::move(word), value());
    } else {
      call.positional.push_back({{}, std::move(word)});
    }
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

void Parameters::set(std::string name, ParameterValue value) {
  for (double& number : value.numbers) number = kept(number);
  for (auto& [existing, old] : items_) {
    if (existing == name) {
      old = std::move(value);
      return;
    }
  }
  items_.emplace_back(std::move(name), std::move(value));
}

const ParameterValue* Parameters::find(std::string_view name) const {
  const auto found =
      std::find_if(items_.begin(), items_.end(), [&](const auto& i) { return i.first == name; });
  return found == items_.end() ? nullptr : &found->second;
}

const ParameterValue& Parameters::value(std::string_view name) const {
  const ParameterValue* const found = find(name);
  if (found == nullptr) throw std::invalid_argument(std::string(name) + " is missing");
  return *found;
}

const std::vector<double>& Parameters::numbers(std::string_view name) const {
  const ParameterValue& found = value(name);
  if (!found.word.empty())
    throw std::invalid_argument(std::string(name) + ": found \"" + found.word + "\", expected numbers");
  return found.numbers;
}

double Parameters::number(std::string_view name) const {
  const std::vector<double>& found = numbers(name);
  if (found.size() != 1)
    throw std::invalid_argument(std::string(name) + ": found " + std::to_string(found.size()) +
                                " numbers, expected one");
  return found[0];
}

int64_t Parameters::integer(std::string_view name) const {
  const double found = number(name);
  if (std::trunc(found) != found || std::abs(found) > 1e15)
    throw std::invalid_argument(std::string(name) + ": found " + show(found) + ", expected a whole number");
  return static_cast<int64_t>(found);
}

std::array<double, 3> Parameters::three(std::string_view name) const {
  const std::vector<double>& n = numbers(name);
  if (n.size() == 1) return {n[0], n[0], n[0]};
  if (n.size() == 3) return {n[0], n[1], n[2]};
  throw std::invalid_argument(std::string(name) + ": found " + std::to_string(n.size()) +
                              " numbers, expected 1 or 3");
}

std::string Parameters::text() const {
  std::string text;
  for (const auto& [name, value] : items_) text += (text.empty() ? "" : ",") + name + "=" + show(value);
  return text;
}

std::vector<Call> parse_calls(std::string_view text) {
  return Parser(text).all();
}

}  // namespace vg::data
