// What the races of single ops share: rows from the shape file, operands, and comparison with results in
// double.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "bench/conv_layers.h"
#include "bench/report.h"
#include "engine/tensor.h"

namespace vg::bench {

using Doubles = std::vector<double>;

/// Extents of an activation that the network has, named by the layer.
struct Volume {
  std::string name;
  int64_t n, d, h, w, c;

  std::string label() const;
  int64_t voxels() const { return n * d * h * w; }
  int64_t elements() const { return voxels() * c; }
};

/// Results of the file's convolutions with kernel 3, each size once, by the name of the first; or the inputs
/// of its transposed ones.
std::vector<Volume> conv_outputs(const Options& options);
std::vector<Volume> transposed_inputs(const Options& options);
/// The layer of this name with the options' batch, or the one whose name ends so. Throws std::runtime_error
/// if the file has none.
ConvLayer layer_named(const Options& options, const std::string& name);
std::vector<ConvLayer> layers_of(const Options& options);

/// An activation of the options' device and type with reproducible values (see exact_values()).
Tensor operand(const Volume& volume, const Options& options, uint32_t seed);
/// Memory of the same kind for a result.
Tensor result_like(const Tensor& tensor);
/// A parameter of `count` floats around `centre`.
Tensor parameter(int64_t count, const Options& options, float centre, uint32_t seed);
/// Dense, channels last.
Doubles to_doubles(const Tensor& tensor);
/// Sets of operands for races of this many bytes: one with --once.
int sets_for(const Options& options, double bytes);

/// The largest difference relative to the root mean square of `exact`; the bound is that of sums in float or
/// of one rounding to the type.
Deviation deviation(const Doubles& actual, const Doubles& exact, DType type);

template <class Bench>
void register_race(CLI::App& app, const std::string& name, const std::string& description) {
  const auto bench = std::make_shared<Bench>();
  CLI::App* sub = app.add_subcommand(name, description);
  add_race_options(*sub, bench->options);
  sub->callback([bench, name] {
    bench->options.apply();
    Report report(name, bench->options);
    bench->run(report);
    report.finish();
  });
}

}  // namespace vg::bench
