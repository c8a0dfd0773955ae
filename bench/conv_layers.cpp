#include "bench/conv_layers.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace vg::bench {

namespace {

const std::vector<std::string> all_directions = {"fprop", "dgrad", "wgrad"};

std::vector<std::string> split_directions(const std::string& text) {
  if (text == "all") return all_directions;
  std::vector<std::string> directions;
  std::istringstream stream(text);
  for (std::string direction; std::getline(stream, direction, ',');) {
    if (std::find(all_directions.begin(), all_directions.end(), direction) == all_directions.end())
      throw std::runtime_error("unknown direction '" + direction + "'");
    directions.push_back(direction);
  }
  return directions;
}

// One line without its comment; false if nothing is left of it.
bool parse(const std::string& line, ConvLayer& layer, int64_t& batch) {
  std::istringstream words(line);
  std::string op, directions, rest;
  if (!(words >> layer.name)) return false;
  if (layer.name == "batch") {
    if (!(words >> batch) || batch < 1) throw std::runtime_error("expected a number after 'batch'");
    return false;
  }
  words >> op >> layer.in >> layer.out >> layer.d >> layer.h >> layer.w >> layer.kernel_size >>
      layer.stride >> directions;
  if (!words || words >> rest)
    throw std::runtime_error("expected name op in out D H W kernel stride directions");
  if (op != "conv" && op != "transposed") throw std::runtime_error("unknown op '" + op + "'");
  layer.transposed = op == "transposed";
  layer.directions = split_directions(directions);
  layer.batch = batch;
  return true;
}

}  // namespace

std::string ConvLayer::label() const {
  std::ostringstream text;
  text << (transposed ? "transposed " : "") << 'k' << kernel_size << " s" << stride << ' ' << in << "->"
       << out << ' ' << d << 'x' << h << 'x' << w;
  return text.str();
}

bool ConvLayer::has(const std::string& direction) const {
  return std::find(directions.begin(), directions.end(), direction) != directions.end();
}

std::vector<ConvLayer> read_conv_layers(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  std::vector<ConvLayer> layers;
  int64_t batch = 1, number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    try {
      if (ConvLayer layer{}; parse(line.substr(0, line.find('#')), layer, batch)) layers.push_back(layer);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(path + ":" + std::to_string(number) + ": " + error.what());
    }
  }
  if (layers.empty()) throw std::runtime_error(path + ": no layers");
  return layers;
}

ConvTask conv_task(const ConvLayer& layer, const std::string& direction) {
  const auto x =
      kernels::contiguous_view<const float>(nullptr, layer.batch, layer.d, layer.h, layer.w, layer.in);
  const auto y = kernels::contiguous_view<const float>(nullptr, layer.batch, layer.output_extent(layer.d),
                                                       layer.output_extent(layer.h),
                                                       layer.output_extent(layer.w), layer.out);
  ConvTask task{};
  task.pass = direction == "wgrad"                         ? ConvPass::weights
              : (direction == "fprop") != layer.transposed ? ConvPass::gather
                                                           : ConvPass::scatter;
  task.transposed = layer.transposed;
  task.large = layer.transposed ? y : x;
  task.small = layer.transposed ? x : y;
  task.kernel_size = layer.kernel_size, task.stride = layer.stride, task.padding = layer.padding();
  return task;
}

}  // namespace vg::bench
