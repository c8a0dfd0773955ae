#include <algorithm>
#include <array>
#include <cmath>

#include "bench/op_benches.h"
#include "bench/op_race.h"
#include "kernels/attention_gate/attention_gate.h"

namespace vg::bench {

namespace {

// g, x and the three products' weights in double: what the gate's gradient is checked along.
struct GateInputs {
  Doubles g, x, weight_g, weight_x, weight_psi;

  std::array<Doubles*, 5> all() { return {&g, &x, &weight_g, &weight_x, &weight_psi}; }
};

// Values [voxels, channels] normalised over the voxels, with gamma 1 and beta 0.
void normalise(Doubles& values, size_t channels, double eps) {
  const auto voxels = static_cast<double>(values.size() / channels);
#pragma omp parallel for
  for (size_t c = 0; c < channels; ++c) {
    double mean = 0, variance = 0;
    for (size_t i = c; i < values.size(); i += channels) mean += values[i] / voxels;
    for (size_t i = c; i < values.size(); i += channels)
      variance += (values[i] - mean) * (values[i] - mean) / voxels;
    for (size_t i = c; i < values.size(); i += channels)
      values[i] = (values[i] - mean) / std::sqrt(variance + eps);
  }
}

// [voxels, in] times (out, in).
Doubles product(const Doubles& x, const Doubles& weight, size_t in, size_t out) {
  Doubles y(x.size() / in * out);
#pragma omp parallel for
  for (size_t voxel = 0; voxel < x.size() / in; ++voxel) {
    for (size_t o = 0; o < out; ++o) {
      double sum = 0;
      for (size_t i = 0; i < in; ++i) sum += x[voxel * in + i] * weight[o * in + i];
      y[voxel * out + o] = sum;
    }
  }
  return y;
}

// y = x sigmoid(BN(w_psi . relu(BN(W_g g) + BN(W_x x)))): biases before a batch norm change nothing.
Doubles gate_of(const GateInputs& in, const kernels::AttentionGateParams& p) {
  const auto f = static_cast<size_t>(p.intermediate_channels), c = static_cast<size_t>(p.skip_channels);
  const auto eps = static_cast<double>(p.eps);
  Doubles hidden = product(in.g, in.weight_g, static_cast<size_t>(p.gate_channels), f),
          skip = product(in.x, in.weight_x, c, f);
  normalise(hidden, f, eps);
  normalise(skip, f, eps);
  for (size_t i = 0; i < hidden.size(); ++i) hidden[i] = std::max(0.0, hidden[i] + skip[i]);
  Doubles psi = product(hidden, in.weight_psi, f, 1);
  normalise(psi, 1, eps);
  Doubles y = in.x;
  for (size_t i = 0; i < y.size(); ++i) y[i] /= 1 + std::exp(-psi[i / c]);
  return y;
}

template <class T>
class GateRun {
 public:
  GateRun(const Volume& g, const Volume& x, int64_t f, const Options& options, int sets)
      : options_(options), params_{g.c, x.c, f}, ones_(Tensor::full({f}, 1, options.where())) {
    weight_g_ = parameter(f * g.c, options, 0, 3);
    weight_x_ = parameter(f * x.c, options, 0, 4);
    weight_psi_ = parameter(f, options, 0, 5);
    for (Tensor* zeros :
         {&zeros_, &mean_g_, &variance_g_, &mean_x_, &variance_x_, &mean_psi_, &variance_psi_})
      *zeros = Tensor::zeros({f}, DType::float32, options.where());
    for (Tensor& gradient : gradients_)
      gradient = Tensor::zeros({f * std::max(g.c, x.c)}, DType::float32, options.where());
    for (int i = 0; i < sets; ++i) {
      Set set{operand(g, options, 1), operand(x, options, 2), operand(x, options, 6), {}, {}, {}, {}};
      set.y = result_like(set.x), set.dg = result_like(set.g), set.dx = result_like(set.x);
      set.psi = Tensor::activation(x.n, x.d, x.h, x.w, 1, options.where());
      sets_.push_back(std::move(set));
    }
  }
  void forward(int index) {
    const Set& s = sets_[static_cast<size_t>(index)];
    attention_gate_forward(s.y.template view<T>(), s.psi.template view<float>(), statistics(),
                           s.g.template view<const T>(), s.x.template view<const T>(), weights(), params_,
                           exec());
  }
  void backward(int index) {
    const Set& s = sets_[static_cast<size_t>(index)];
    attention_gate_backward(s.dg.template view<T>(), s.dx.template view<T>(), gradients(),
                            s.dy.template view<const T>(), s.psi.template view<const float>(), statistics(),
                            s.g.template view<const T>(), s.x.template view<const T>(), weights(), params_,
                            exec());
  }
  Deviation check_forward() const {
    return deviation(to_doubles(sets_[0].y), gate_of(inputs(), params_), dtype_of<T>());
  }
  // Along the gradient <dy, y> rises by the gradient's square: a central difference in double.
  Deviation check_gradient() const {
    GateInputs gradient{to_doubles(sets_[0].dg), to_doubles(sets_[0].dx), head(gradients_[0], weight_g_),
                        head(gradients_[4], weight_x_), head(gradients_[8], weight_psi_)};
    double square = 0, largest = 0;
    for (const Doubles* part : gradient.all()) {
      for (const double v : *part) square += v * v, largest = std::max(largest, std::abs(v));
    }
    const double step = 1e-5 / largest;
    return deviation({square}, {(moved(gradient, step) - moved(gradient, -step)) / (2 * step)},
                     dtype_of<T>());
  }

 private:
  struct Set {
    Tensor g, x, dy, y, dg, dx, psi;
  };
  // <dy, y> after a step along `direction`.
  double moved(GateInputs direction, double step) const {
    GateInputs at = inputs();
    for (size_t part = 0; part < 5; ++part) {
      Doubles& values = *at.all()[part];
      const Doubles& along = *direction.all()[part];
      for (size_t i = 0; i < values.size(); ++i) values[i] += step * along[i];
    }
    const Doubles y = gate_of(at, params_), dy = to_doubles(sets_[0].dy);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
    return sum;
  }
  GateInputs inputs() const {
    return {to_doubles(sets_[0].g), to_doubles(sets_[0].x), to_doubles(weight_g_), to_doubles(weight_x_),
            to_doubles(weight_psi_)};
  }
  static Doubles head(const Tensor& gradient, const Tensor& like) {
    Doubles values = to_doubles(gradient);
    values.resize(static_cast<size_t>(like.elements()));
    return values;
  }
  kernels::AttentionGateStatistics statistics() const {
    return {mean_g_.data<float>(),     variance_g_.data<float>(), mean_x_.data<float>(),
            variance_x_.data<float>(), mean_psi_.data<float>(),   variance_psi_.data<float>()};
  }
  kernels::AttentionGateWeights weights() const {
    const float *one = ones_.data<const float>(), *zero = zeros_.data<const float>();
    return {weight_g_.data<const float>(),   zero, one, zero, weight_x_.data<const float>(), zero, one, zero,
            weight_psi_.data<const float>(), zero, one, zero};
  }
  kernels::AttentionGateGradients gradients() const {
    const auto at = [&](size_t i) { return gradients_[i].data<float>(); };
    return {at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9), at(10), at(11)};
  }
  kernels::Exec exec() const { return Context::get().exec(options_.where()); }

  Options options_;
  kernels::AttentionGateParams params_;
  Tensor ones_, zeros_, weight_g_, weight_x_, weight_psi_;
  Tensor mean_g_, variance_g_, mean_x_, variance_x_, mean_psi_, variance_psi_;
  std::array<Tensor, 12> gradients_;
  std::vector<Set> sets_;
};

struct GateBench {
  Options options;

  template <class T>
  void race(Report& report, const Volume& g, const Volume& x, int64_t f, const std::string& direction) const {
    const bool backward = direction == "dgrad";
    // Forward reads g and x and writes y; backward reads dy as well and writes dg and dx.
    const auto elements =
        static_cast<double>(backward ? 2 * g.elements() + 3 * x.elements() : g.elements() + 2 * x.elements());
    const double bytes = elements * sizeof(T) + 4.0 * static_cast<double>(x.voxels());
    const double flop = 2.0 * static_cast<double>(x.voxels() * f * (g.c + x.c + 1)) * (backward ? 2 : 1);
    const int sets = sets_for(options, bytes);
    GateRun<T> ours(g, x, f, options, sets);
    if (backward) {
      for (int i = 0; i < sets; ++i) ours.forward(i);  // psi and statistics, which forward keeps
    }
    report.race({x.name,
                 x.label() + " g" + std::to_string(g.c) + " f" + std::to_string(f),
                 direction,
                 flop,
                 bytes,
                 sets,
                 {{"voxgrad", [&](int set) { backward ? ours.backward(set) : ours.forward(set); },
                   [&] { return backward ? ours.check_gradient() : ours.check_forward(); }}}});
    if (options.opponent != "none") report.note(no_race(options.opponent));
  }
  void run(Report& report) const {
    const std::string suffix = ".gate_g";
    for (const ConvLayer& layer : layers_of(options)) {
      if (!layer.name.ends_with(suffix)) continue;
      const std::string name = layer.name.substr(0, layer.name.size() - suffix.size());
      const ConvLayer skip = layer_named(options, name + ".gate_x");
      const Volume g{name + ".gate", layer.batch, layer.d, layer.h, layer.w, layer.in};
      const Volume x{name + ".gate", layer.batch, layer.d, layer.h, layer.w, skip.in};
      if (!options.wants(x.name, x.label())) continue;
      for (const std::string direction : {"fprop", "dgrad"}) {
        if (!options.wants_direction(direction)) continue;
        options.dtype == "bf16" ? race<bfloat16>(report, g, x, layer.out, direction)
                                : race<float>(report, g, x, layer.out, direction);
      }
    }
  }
};

}  // namespace

void register_gate(CLI::App& app) {
  register_race<GateBench>(app, "gate", "the attention gates in training");
}

}  // namespace vg::bench
