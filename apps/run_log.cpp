#include "apps/run_log.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "engine/atomic_file.h"

namespace vg::apps {

namespace {

// Rewrites `file` without the lines that `keep` refuses. A torn last line of an interrupted run is refused
// too.
template <class Keep>
void filter_lines(const std::filesystem::path& file, const Keep& keep) {
  std::ifstream stream(file);
  if (!stream) return;
  std::string kept, line;
  while (std::getline(stream, line)) {
    if (keep(line)) kept += line + "\n";
  }
  write_file_atomically(file, kept);
}

std::string csv_value(const nlohmann::ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump();
}

}  // namespace

RunLog::RunLog(const std::filesystem::path& folder, int64_t step, int64_t epoch) {
  filter_lines(folder / "log.jsonl", [&](const std::string& line) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    return json.is_object() && json.contains("step") && json.at("step").get<int64_t>() <= step;
  });
  filter_lines(folder / "epochs.csv", [&](const std::string& line) {
    return line.starts_with("epoch") || (!line.empty() && std::strtoll(line.c_str(), nullptr, 10) <= epoch);
  });
  steps_ = open(folder / "log.jsonl");
  epochs_ = open(folder / "epochs.csv");
}

RunLog::File RunLog::open(const std::filesystem::path& file) {
  File stream(std::fopen(file.c_str(), "a"));
  if (stream == nullptr)
    throw std::runtime_error(file.string() + ": cannot be opened for writing: " + std::strerror(errno));
  return stream;
}

void RunLog::step(const nlohmann::ordered_json& entry) {
  std::fprintf(steps_.get(), "%s\n", entry.dump().c_str());
  std::fflush(steps_.get());
}

void RunLog::epoch(const nlohmann::ordered_json& entry) {
  std::fseek(epochs_.get(), 0, SEEK_END);
  std::string heading, row;
  for (const auto& [key, value] : entry.items()) {
    heading += (heading.empty() ? "" : ",") + key;
    row += (row.empty() ? "" : ",") + csv_value(value);
  }
  if (std::ftell(epochs_.get()) == 0) std::fprintf(epochs_.get(), "%s\n", heading.c_str());
  std::fprintf(epochs_.get(), "%s\n", row.c_str());
  std::fflush(epochs_.get());
}

}  // namespace vg::apps
