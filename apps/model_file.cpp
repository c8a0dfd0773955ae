#include "apps/model_file.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "engine/safetensors.h"

namespace vg::apps {

namespace {

using Json = nlohmann::json;

constexpr int format_version = 1;
constexpr const char* optimizer_prefix = "optimizer.";

Json to_json(const TrainingState& s) {
  return {{"step", s.step},
          {"epoch", s.epoch},
          {"batch", s.batch},
          {"epoch_loss_sum", s.epoch_loss_sum},
          {"best_score", s.best_score},
          {"random_draws", s.random_draws},
          {"schedule", s.schedule}};
}

TrainingState training_from_json(const Json& json) {
  TrainingState s;
  json.at("step").get_to(s.step);
  json.at("epoch").get_to(s.epoch);
  json.at("batch").get_to(s.batch);
  json.at("epoch_loss_sum").get_to(s.epoch_loss_sum);
  json.at("best_score").get_to(s.best_score);
  json.at("random_draws").get_to(s.random_draws);
  json.at("schedule").get_to(s.schedule);
  return s;
}

void check_version(const std::filesystem::path& file, const std::map<std::string, std::string>& metadata) {
  const auto it = metadata.find("voxgrad.format");
  if (it == metadata.end()) return;
  if (std::strtol(it->second.c_str(), nullptr, 10) > format_version) {
    throw SafetensorsError(file.string() + ": voxgrad.format: found " + it->second + ", expected at most " +
                           std::to_string(format_version) +
                           "; the file was written by a newer voxgrad: use that one");
  }
}

}  // namespace

ModelFile load_model_file(const std::filesystem::path& file) {
  const Safetensors content = load_safetensors(file);
  check_version(file, content.metadata);
  const auto text = [&](const char* key) {
    const auto it = content.metadata.find(key);
    return it == content.metadata.end() ? std::string() : it->second;
  };
  ModelFile model;
  const std::string prefix = optimizer_prefix;
  for (const auto& [name, tensor] : content.tensors) {
    if (name.starts_with(prefix)) {
      model.optimizer.emplace_back(name.substr(prefix.size()), tensor);
    } else {
      model.weights.emplace_back(name, tensor);
    }
  }
  try {
    const std::string architecture = text("voxgrad.architecture");
    model.description.architecture =
        architecture.empty() ? architecture_from_state(model.weights) : architecture_from_json(architecture);
    if (const std::string channels = text("voxgrad.channels"); !channels.empty()) {
      model.description.channels = Json::parse(channels).get<std::vector<std::string>>();
    }
    if (const std::string training = text("voxgrad.training"); !training.empty()) {
      model.training = training_from_json(Json::parse(training));
    }
  } catch (const std::exception& error) {
    throw SafetensorsError(file.string() + ": " + error.what());
  }
  model.description.label_schema = text("voxgrad.label_schema");
  model.description.preprocessing = text("voxgrad.preprocessing");
  return model;
}

void save_model_file(const std::filesystem::path& file, const ModelFile& model) {
  Safetensors content;
  content.metadata["voxgrad.format"] = std::to_string(format_version);
  content.metadata["voxgrad.architecture"] = to_json(model.description.architecture);
  content.metadata["voxgrad.channels"] = Json(model.description.channels).dump();
  content.metadata["voxgrad.label_schema"] = model.description.label_schema;
  content.metadata["voxgrad.preprocessing"] = model.description.preprocessing;
  content.tensors = model.weights;
  if (model.training) {
    content.metadata["voxgrad.training"] = to_json(*model.training).dump();
    for (const auto& [name, tensor] : model.optimizer)
      content.tensors.emplace_back(optimizer_prefix + name, tensor);
  }
  save_safetensors(file, content);
}

}  // namespace vg::apps
