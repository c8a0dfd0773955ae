#include "bench/op_race.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "bench/conv_reference.h"

namespace vg::bench {

std::string Volume::label() const {
  return std::to_string(n) + "x" + std::to_string(d) + "x" + std::to_string(h) + "x" + std::to_string(w) +
         " c" + std::to_string(c);
}

std::vector<ConvLayer> layers_of(const Options& options) {
  std::vector<ConvLayer> layers = read_conv_layers(options.shapes);
  for (ConvLayer& layer : layers) layer.batch = options.batch > 0 ? options.batch : layer.batch;
  return layers;
}

std::vector<Volume> conv_outputs(const Options& options) {
  std::vector<Volume> volumes;
  for (const ConvLayer& l : layers_of(options)) {
    const Volume v{l.name, l.batch, l.output_extent(l.d), l.output_extent(l.h), l.output_extent(l.w), l.out};
    const bool seen =
        std::any_of(volumes.begin(), volumes.end(), [&](const Volume& o) { return o.label() == v.label(); });
    if (!l.transposed && l.kernel_size == 3 && !seen && options.wants(v.name, v.label()))
      volumes.push_back(v);
  }
  return volumes;
}

std::vector<Volume> transposed_inputs(const Options& options) {
  std::vector<Volume> volumes;
  for (const ConvLayer& l : layers_of(options)) {
    const Volume v{l.name, l.batch, l.d, l.h, l.w, l.in};
    if (l.transposed && options.wants(v.name, v.label())) volumes.push_back(v);
  }
  return volumes;
}

ConvLayer layer_named(const Options& options, const std::string& name) {
  for (const ConvLayer& layer : layers_of(options)) {
    if (layer.name == name) return layer;
  }
  throw std::runtime_error(options.shapes + ": no layer '" + name + "'");
}

Tensor operand(const Volume& v, const Options& options, uint32_t seed) {
  return Tensor::activation_from_ncdhw(exact_values(v.elements(), seed), v.n, v.c, v.d, v.h, v.w,
                                       options.where())
      .to(options.type());
}

Tensor result_like(const Tensor& tensor) {
  return Tensor::activation_like(tensor);
}

Tensor parameter(int64_t count, const Options& options, float centre, uint32_t seed) {
  std::vector<float> values = exact_values(count, seed);
  for (float& value : values) value = centre + 0.25f * value;
  return Tensor::from_values({count}, values, options.where());
}

Doubles to_doubles(const Tensor& tensor) {
  const std::vector<float> values = tensor.to(DType::float32).values();
  return {values.begin(), values.end()};
}

int sets_for(const Options& options, double bytes) {
  return options.once ? 1 : rotated_sets(options.where(), static_cast<size_t>(bytes));
}

Deviation deviation(const Doubles& actual, const Doubles& exact, DType type) {
  double worst = 0, squares = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double error = std::abs(actual.at(i) - exact[i]);
    if (!(error <= worst)) worst = error;
    squares += exact[i] * exact[i];
  }
  const double magnitude = std::sqrt(squares / static_cast<double>(exact.size()));
  return {worst / magnitude, type == DType::bfloat16 ? 0x1p-5 : 1e-4};
}

}  // namespace vg::bench
