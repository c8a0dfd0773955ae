#include "data/split.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "engine/atomic_file.h"
#include "kernels/common/check.h"

namespace vg::data {
namespace {

void check_no_duplicates(std::vector<std::string> ids, const std::string& where) {
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end())
    throw DataError(where + ": subject " + *twice + " occurs twice, expected once; remove one");
}

std::string trimmed(const std::string& line) {
  const std::string text = line.substr(0, line.find('#'));
  const size_t first = text.find_first_not_of(" \t\r"), last = text.find_last_not_of(" \t\r");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

Split parse_json(const std::string& text, const std::string& file) {
  Split split;
  nlohmann::json document;
  try {
    document = nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw DataError(file + ": not JSON: " + error.what());
  }
  for (const auto& [key, value] : document.items()) {
    if (key != "train" && key != "validation") {
      throw DataError(file + ": key \"" + key + "\", expected \"train\" and \"validation\"");
    }
    const auto is_text = [](const nlohmann::json& id) { return id.is_string(); };
    if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_text)) {
      throw DataError(file + ": \"" + key + "\" is no list of strings, expected subject ids");
    }
    (key == "train" ? split.train : split.validation) = value.get<std::vector<std::string>>();
  }
  return split;
}

Split parse_text(const std::string& text, const std::string& file) {
  Split split;
  std::vector<std::string>* section = nullptr;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const std::string entry = trimmed(line);
    if (entry.empty()) continue;
    if (entry == "[train]") {
      section = &split.train;
    } else if (entry == "[validation]") {
      section = &split.validation;
    } else if (entry.front() == '[' || !section) {
      throw DataError(file + ": line " + std::to_string(number) + " is \"" + entry +
                      "\", expected \"[train]\" or \"[validation]\"");
    } else {
      section->push_back(entry);
    }
  }
  return split;
}

}  // namespace

std::string patient_of(std::string_view subject) {
  const auto digits = [](std::string_view text) {
    return !text.empty() &&
           std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); });
  };
  const size_t last = subject.rfind('-');
  if (last == std::string_view::npos || subject.size() - last != 4 || !digits(subject.substr(last + 1))) {
    return std::string(subject);
  }
  const size_t before = subject.rfind('-', last - 1);
  if (last == 0 || before == std::string_view::npos ||
      !digits(subject.substr(before + 1, last - before - 1))) {
    return std::string(subject);
  }
  return std::string(subject.substr(0, last));
}

Split split_by_order(std::vector<std::string> ids, double train_fraction) {
  kernels::require(train_fraction > 0 && train_fraction < 1, "split: train_fraction is ", train_fraction,
                   ", expected a number between 0 and 1");
  check_no_duplicates(ids, "split");
  std::sort(ids.begin(), ids.end());
  // The small addition takes 0.8 * 5 = 4.000...: as written, not as rounded.
  auto cut = static_cast<size_t>(std::floor(train_fraction * static_cast<double>(ids.size()) + 1e-9));
  while (cut > 0 && cut < ids.size() && patient_of(ids[cut]) == patient_of(ids[cut - 1])) ++cut;
  if (cut == 0 || cut == ids.size()) {
    throw DataError(
        "split: " + std::to_string(ids.size()) + " subjects leave " + (cut == 0 ? "none" : "all") +
        " for training, expected some for training and some for validation; add subjects or name them in "
        "a split file");
  }
  const auto middle = ids.begin() + static_cast<std::ptrdiff_t>(cut);
  return {{ids.begin(), middle}, {middle, ids.end()}};
}

Split read_split(const std::filesystem::path& path, const std::vector<std::string>& ids, const Warn& warn) {
  const std::string file = path.string();
  std::ifstream stream(path);
  std::ostringstream content;
  if (!stream || !(content << stream.rdbuf())) {
    throw DataError(
        file + ": cannot be read or is empty, expected a split file with training and validation subjects");
  }
  const std::string text = content.str();
  const size_t first = text.find_first_not_of(" \t\r\n");
  const Split split =
      first != std::string::npos && text[first] == '{' ? parse_json(text, file) : parse_text(text, file);

  check_no_duplicates(split.train, file + ": train");
  check_no_duplicates(split.validation, file + ": validation");
  for (const auto* list : {&split.train, &split.validation}) {
    if (list->empty()) {
      throw DataError(file + ": " + (list == &split.train ? "train" : "validation") +
                      " is empty or missing, expected at least one subject");
    }
  }
  const std::set<std::string> known(ids.begin(), ids.end());
  std::map<std::string, std::string> training_patients;
  std::set<std::string> named;
  for (const std::string& id : split.train) training_patients.emplace(patient_of(id), id);
  for (const auto* list : {&split.train, &split.validation}) {
    for (const std::string& id : *list) {
      if (!known.contains(id)) {
        throw DataError(file + ": subject " + id + " is not among the " + std::to_string(ids.size()) +
                        " subjects of the data set; correct or remove it");
      }
      named.insert(id);
    }
  }
  for (const std::string& id : split.validation) {
    const auto training = training_patients.find(patient_of(id));
    if (training == training_patients.end()) continue;
    throw DataError(file + ": patient " + training->first + " is in both lists (train: " + training->second +
                    ", validation: " + id + "), expected in one; validation would not be independent");
  }
  if (warn && named.size() < known.size()) {
    warn(file + ": " + std::to_string(known.size() - named.size()) + " of " + std::to_string(known.size()) +
         " subjects are in neither list and are left out");
  }
  return split;
}

void write_split(const std::filesystem::path& file, const Split& split) {
  const nlohmann::ordered_json document{{"train", split.train}, {"validation", split.validation}};
  write_file_atomically(file, document.dump(2) + "\n");
}

}  // namespace vg::data
