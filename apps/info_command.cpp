#include <omp.h>

#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "apps/cli_support.h"
#include "apps/model_file.h"
#include "data/nifti_io.h"
#include "kernels/common/simd.h"

namespace vg::apps {

namespace {

using Json = nlohmann::ordered_json;

Json build_facts() {
  std::string reason;
  const bool cuda = cuda_available(&reason);
  Json json = {{"version", VOXGRAD_VERSION},
               {"compiler", __VERSION__},
               {"instruction_set", kernels::cpu::isa_name(kernels::cpu::active_isa())},
               {"threads", omp_get_max_threads()},
               {"cuda", cuda ? "available" : reason}};
  return json;
}

Json nifti_facts(const std::string& file) {
  const data::NiftiInfo info = data::read_nifti_info(
      file, [](const std::string& line) { std::fprintf(stderr, "warning: %s\n", line.c_str()); });
  Json json = {{"format", "NIfTI-" + std::to_string(info.version)},
               {"extents", info.extents},
               {"datatype", info.datatype},
               {"bits_per_voxel", info.bits_per_voxel},
               {"slope", info.slope},
               {"intercept", info.intercept},
               {"spacing_mm", info.geometry.spacing()},
               {"orientation", info.orientation},
               {"transform_source", info.transform_source},
               {"compressed", info.compressed},
               {"byte_swapped", info.byte_swapped}};
  for (const auto& row : info.geometry.affine) json["affine"].push_back(row);
  return json;
}

Json model_facts(const std::string& file) {
  const ModelFile model = load_model_file(file);
  int64_t values = 0;
  for (const auto& [name, tensor] : model.weights) values += tensor.elements();
  Json json = {{"format", "safetensors"},
               {"architecture", Json::parse(to_json(model.description.architecture))},
               {"tensors", model.weights.size()},
               {"values", values},
               {"channels", model.description.channels},
               {"label_schema", model.description.label_schema},
               {"preprocessing", model.description.preprocessing}};
  if (model.training) {
    json["training"] = {{"step", model.training->step},
                        {"epoch", model.training->epoch},
                        {"best_score", model.training->best_score}};
  }
  return json;
}

void print(const Json& json) {
  for (const auto& [key, value] : json.items()) {
    std::printf("%-18s %s\n", key.c_str(),
                value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
  }
}

}  // namespace

void register_info(CLI::App& app, int& /*exit_code*/) {
  struct InfoCommand {
    std::string file;
    bool json = false;
  };
  const auto command = std::make_shared<InfoCommand>();
  CLI::App* sub = app.add_subcommand(
      "info", "what a NIfTI file or checkpoint holds; without a file, facts on build and devices");
  sub->add_option("file", command->file, "NIfTI or safetensors file");
  sub->add_flag("--json", command->json, "print JSON");
  sub->footer(
      "Examples:\n  voxgrad info\n  voxgrad info flair.nii.gz\n  voxgrad info runs/a/best.safetensors "
      "--json");
  sub->callback([command] {
    const std::string& file = command->file;
    const Json json = file.empty()                     ? build_facts()
                      : file.ends_with(".safetensors") ? model_facts(file)
                                                       : nifti_facts(file);
    command->json ? (void)std::printf("%s\n", json.dump(2).c_str()) : print(json);
  });
}

}  // namespace vg::apps
