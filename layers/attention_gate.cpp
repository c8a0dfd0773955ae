#include "layers/attention_gate.h"

#include <array>

#include "engine/recompute.h"
#include "kernels/attention_gate/attention_gate_inference.h"
#include "layers/elementwise.h"
#include "layers/folded_conv3d.h"
#include "layers/op_support.h"

namespace vg {

using kernels::AttentionGateGradients;
using kernels::AttentionGateParams;
using kernels::AttentionGateStatistics;
using kernels::AttentionGateWeights;
using kernels::require;

namespace {

/// Mean and biased variance of one batch norm.
struct Statistics {
  Tensor mean, variance;
};

AttentionGateWeights weight_pointers(const std::array<AttentionGateBranch, 3>& b) {
  const auto pointer = [](const Tensor& t) { return t.data<const float>(); };
  return {pointer(b[0].weight), pointer(b[0].bias), pointer(b[0].gamma), pointer(b[0].beta),
          pointer(b[1].weight), pointer(b[1].bias), pointer(b[1].gamma), pointer(b[1].beta),
          pointer(b[2].weight), pointer(b[2].bias), pointer(b[2].gamma), pointer(b[2].beta)};
}

AttentionGateStatistics statistics_pointers(const std::array<Statistics, 3>& s) {
  return {s[0].mean.data<float>(),     s[0].variance.data<float>(), s[1].mean.data<float>(),
          s[1].variance.data<float>(), s[2].mean.data<float>(),     s[2].variance.data<float>()};
}

/// Inputs: g, x, then weight, bias, gamma and beta of gate, skip and psi. `g` is undefined if what made it
/// gives it again.
class AttentionGateNode : public Node {
 public:
  AttentionGateNode(Tensor g, Tensor x, Tensor scores, const std::array<AttentionGateBranch, 3>& branches,
                    std::array<Statistics, 3> statistics, NormOperands norm_of_g, NormOperands norm_of_x,
                    const AttentionGateParams& params)
      : g_(std::move(g)),
        x_(std::move(x)),
        scores_(std::move(scores)),
        statistics_(std::move(statistics)),
        norm_of_g_(std::move(norm_of_g)),
        norm_of_x_(std::move(norm_of_x)),
        params_(params) {
    for (size_t i = 0; i < branches.size(); ++i) {
      const AttentionGateBranch& b = branches[i];
      branches_[i] = {b.weight.detach(), b.bias.detach(), b.gamma.detach(), b.beta.detach(), {}, {}};
    }
  }
  const char* name() const override { return "attention_gate"; }

  void backward(const Tensor& grad_output) override {
    // The kernel computes every gradient; those that nobody needs go where nobody looks.
    std::array<Tensor, 12> buffers;
    std::array<float*, 12> p{};
    for (size_t i = 0; i < buffers.size(); ++i) {
      const AttentionGateBranch& b = branches_[i / 4];
      const Tensor* const like[] = {&b.weight, &b.bias, &b.gamma, &b.beta};
      buffers[i] = needs(2 + i) ? accumulation_buffer(2 + i) : Tensor::empty_like(*like[i % 4]);
      p[i] = buffers[i].data<float>();
    }
    const AttentionGateGradients gradients{p[0], p[1], p[2], p[3], p[4],  p[5],
                                           p[6], p[7], p[8], p[9], p[10], p[11]};
    // The other gradient of g, through the merge, is added on the way.
    const Tensor so_far = take_gradient(0);
    const Tensor g = g_.defined() ? g_ : origin(0)->output_again();
    const auto [dx, dg] = places(grad_output, so_far, g);
    if (dx.dtype() == DType::bfloat16) {
      // If g is the norm's input, its result's gradient is summed here. Nobody is to add to it any more.
      NormNode* const norm =
          norm_of_g_.statistics.mean.defined() ? dynamic_cast<NormNode*>(origin(0)) : nullptr;
      const bool wanted = norm != nullptr && norm->takes_sums();
      const Tensor sums = wanted ? Tensor::empty({g.size(4), 2}, DType::float32, g.device()) : Tensor();
      kernels::attention_gate_backward(
          dg.view<bfloat16>(), dx.view<bfloat16>(), gradients, grad_output.view<const bfloat16>(),
          scores_.view<const float>(), statistics_pointers(statistics_), g.view<const bfloat16>(),
          x_.view<const bfloat16>(), weight_pointers(branches_), params_,
          so_far.defined() ? so_far.view<const bfloat16>() : View<const bfloat16>(),
          wanted ? sums.data<float>() : nullptr, exec_of(dx));
      if (wanted) norm->offer_sums(dg, sums);
    } else {
      kernels::attention_gate_backward(
          dg.view(), dx.view(), gradients, grad_output.view<const float>(), scores_.view<const float>(),
          statistics_pointers(statistics_), g.view<const float>(), x_.view<const float>(),
          weight_pointers(branches_), params_,
          so_far.defined() ? so_far.view<const float>() : View<const float>(), exec_of(dx));
    }
    pass(0, dg);
    pass(1, dx);
  }

 private:
  /// Where dx and dg go: on the CPU in the places of the gradients that they are made from, if nobody else
  /// reads those. They may be slices of one tensor, see concat().
  [[nodiscard]] std::array<Tensor, 2> places(const Tensor& grad_output, const Tensor& so_far,
                                             const Tensor& g) const {
    const bool neighbours = so_far.defined() && Tensor::joined({grad_output, so_far}).defined();
    const auto own = [&](const Tensor& gradient) {
      return gradient.defined() && gradient.device() == Device::cpu &&
             gradient.storage_use_count() == (neighbours ? 2 : 1);
    };
    const bool own_dx = own(grad_output), own_dg = own(so_far);
    return {own_dx ? grad_output : Tensor::empty_like(x_), own_dg ? so_far : Tensor::empty_like(g)};
  }

  Tensor g_, x_, scores_;
  std::array<AttentionGateBranch, 3> branches_;
  std::array<Statistics, 3> statistics_;
  NormOperands norm_of_g_, norm_of_x_;  ///< keep alive what the params point to
  AttentionGateParams params_;
};

/// Computes y, unless it is undefined, and scores; returns the statistics that were used: of the batch, or
/// with fixed_statistics the running ones. Computed again on the CPU, those of the first time are used, which
/// takes fewer passes.
std::array<Statistics, 3> forward(const Tensor& y, const Tensor& scores, const Tensor& g, const Tensor& x,
                                  const std::array<AttentionGateBranch, 3>& branches,
                                  AttentionGateParams params) {
  std::array<Statistics, 3> statistics;
  const auto compute = [&] {
    with_element_type(x, [&]<class T>() {
      kernels::attention_gate_forward(y.defined() ? y.view<T>() : View<T>(), scores.view<float>(),
                                      statistics_pointers(statistics), g.view<const T>(), x.view<const T>(),
                                      weight_pointers(branches), params, exec_of(x));
    });
  };
  for (size_t i = 0; i < branches.size(); ++i)
    statistics[i] = {branches[i].running_mean, branches[i].running_var};
  if (!params.fixed_statistics) {
    const auto compute_with_statistics = [&] {
      std::vector<Tensor> result;
      for (size_t i = 0; i < branches.size(); ++i) {
        statistics[i] = {Tensor::empty_like(branches[i].beta), Tensor::empty_like(branches[i].beta)};
        result.insert(result.end(), {statistics[i].mean, statistics[i].variance});
      }
      compute();
      return result;
    };
    const std::vector<Tensor> of_batch =
        g.device() == Device::cpu ? computed_once(compute_with_statistics) : compute_with_statistics();
    if (statistics[0].mean.data<float>() == of_batch[0].data<float>()) return statistics;
    for (size_t i = 0; i < branches.size(); ++i) statistics[i] = {of_batch[2 * i], of_batch[2 * i + 1]};
    params.fixed_statistics = true;
  }
  compute();
  return statistics;
}

void check_branch(const AttentionGateBranch& branch, int64_t in_channels, int64_t out_channels,
                  const Tensor& x) {
  const char* const function = "attention_gate";
  require_parameter(function, "weight", branch.weight, {out_channels, in_channels, 1, 1, 1}, x);
  require_parameter(function, "bias", branch.bias, {out_channels}, x);
  require_parameter(function, "gamma", branch.gamma, {out_channels}, x);
  require_parameter(function, "beta", branch.beta, {out_channels}, x);
  require_parameter(function, "running_mean", branch.running_mean, {out_channels}, x);
  require_parameter(function, "running_var", branch.running_var, {out_channels}, x);
}

}  // namespace

namespace {

/// Without memory in `y` the result is not stored.
UnstoredGate gate_forward(const Tensor& y, const Tensor& g, const Tensor& x, const AttentionGateBranch& gate,
                          const AttentionGateBranch& skip, const AttentionGateBranch& psi,
                          const BatchNormParams& params, const NormOperands& norm_of_g,
                          const NormOperands& norm_of_x) {
  require_activation("attention_gate", "g", g);
  require_activation("attention_gate", "x", x);
  require_alike("attention_gate", g, x);
  require(same_voxels(g, x), "attention_gate: g is ", to_string(g.shape()), " and x ", to_string(x.shape()),
          ", expected the same voxels");
  require(gate.bias.defined(), "attention_gate: bias is undefined");
  const int64_t intermediate = gate.bias.elements(), count = x.elements() / x.size(4);
  check_branch(gate, g.size(4), intermediate, x);
  check_branch(skip, x.size(4), intermediate, x);
  check_branch(psi, intermediate, 1, x);
  require(!params.training || count > 1,
          "attention_gate: expected more than one value per channel in training, got shape ",
          to_string(x.shape()));
  AttentionGateParams kernel_params{.gate_channels = g.size(4),
                                    .skip_channels = x.size(4),
                                    .intermediate_channels = intermediate,
                                    .eps = params.eps,
                                    .fixed_statistics = !params.training};
  if (norm_of_g.statistics.mean.defined()) {
    require_parameter("attention_gate", "mean", norm_of_g.statistics.mean, {g.size(4)}, g);
    kernel_params.norm_of_g = input_norm(norm_of_g);
  }
  if (norm_of_x.statistics.mean.defined()) {
    require_parameter("attention_gate", "mean", norm_of_x.statistics.mean, {x.size(4)}, x);
    kernel_params.norm_of_x = input_norm(norm_of_x);
  }

  const std::array<AttentionGateBranch, 3> branches{gate, skip, psi};
  const Tensor scores = Tensor::activation(x.size(0), x.size(1), x.size(2), x.size(3), 1, x.device());
  const std::array<Statistics, 3> statistics = forward(y, scores, g, x, branches, kernel_params);
  if (params.training && !Context::get().computing_again()) {
    for (size_t i = 0; i < branches.size(); ++i) {
      const AttentionGateBranch& b = branches[i];
      kernels::norm3d_update_running(
          b.running_mean.data<float>(), b.running_var.data<float>(), statistics[i].mean.data<const float>(),
          statistics[i].variance.data<const float>(), b.beta.elements(), count, params.momentum, exec_of(x));
    }
  }
  std::vector<Tensor> inputs{g, x};
  for (const AttentionGateBranch& b : branches)
    inputs.insert(inputs.end(), {b.weight, b.bias, b.gamma, b.beta});
  // When memory counts, what made g gives it again (not where it stands for a norm that nobody has stored).
  const auto& origin = g.autograd_meta();
  const bool again = Context::get().computing_again() && !norm_of_g.statistics.mean.defined() &&
                     origin != nullptr && origin->node != nullptr && origin->node->gives_output_again();
  return {record<AttentionGateNode>(y.defined() ? y : x.detach(), inputs, again ? Tensor() : g.detach(),
                                    x.detach(), scores, branches, statistics, norm_of_g.detached(),
                                    norm_of_x.detached(), kernel_params),
          scores,
          statistics[2].mean,
          statistics[2].variance,
          psi.gamma.detach(),
          psi.beta.detach(),
          norm_of_x.detached(),
          params.eps};
}

}  // namespace

Tensor attention_gate(const Tensor& g, const Tensor& x, const AttentionGateBranch& gate,
                      const AttentionGateBranch& skip, const AttentionGateBranch& psi,
                      const BatchNormParams& params, const Tensor& into, const NormOperands& norm_of_g,
                      const NormOperands& norm_of_x) {
  require_activation("attention_gate", "x", x);
  return gate_forward(into.defined() ? into.detach() : Tensor::activation_like(x), g, x, gate, skip, psi,
                      params, norm_of_g, norm_of_x)
      .y;
}

UnstoredGate unstored_attention_gate(const Tensor& g, const Tensor& x, const AttentionGateBranch& gate,
                                     const AttentionGateBranch& skip, const AttentionGateBranch& psi,
                                     const BatchNormParams& params, const NormOperands& norm_of_g,
                                     const NormOperands& norm_of_x) {
  require(params.training && x.dtype() == DType::bfloat16,
          "attention_gate: a result that is not stored is of bfloat16, in training");
  return gate_forward({}, g, x, gate, skip, psi, params, norm_of_g, norm_of_x);
}

AttentionGate::AttentionGate(int64_t gate_channels, int64_t skip_channels, int64_t intermediate_channels,
                             Device device)
    : gate_(make_branch("W_g", gate_channels, intermediate_channels, device)),
      skip_(make_branch("W_x", skip_channels, intermediate_channels, device)),
      psi_(make_branch("psi", intermediate_channels, 1, device)) {}

AttentionGate::Branch AttentionGate::make_branch(const std::string& name, int64_t in_channels,
                                                 int64_t out_channels, Device device) {
  const Conv3dParams params{
      .in_channels = in_channels, .out_channels = out_channels, .kernel_size = 1, .stride = 1, .padding = 0};
  return {register_module(name + ".0.conv", std::make_unique<Conv3d>(params, true, device)),
          register_module(name + ".1", std::make_unique<BatchNorm3d>(out_channels, device))};
}

AttentionGateBranch AttentionGate::tensors(const Branch& branch) {
  return {branch.convolution.weight(), branch.convolution.bias(),  branch.norm.weight(),
          branch.norm.bias(),          branch.norm.running_mean(), branch.norm.running_var()};
}

void AttentionGate::set_frozen(bool frozen, DType /*products*/) {
  folded_ = nullptr;
  if (!frozen || gate_.convolution.weight().device() != Device::cpu) return;
  const auto fold = [](const Branch& b) {
    return fold_batch_norm(b.convolution.weight(), b.convolution.bias(), b.norm);
  };
  const FoldedWeights gate = fold(gate_), skip = fold(skip_), psi = fold(psi_);
  std::vector<float> bias = gate.bias.values();
  const std::vector<float> skip_bias = skip.bias.values();
  for (size_t f = 0; f < bias.size(); ++f) bias[f] += skip_bias[f];
  folded_ = std::make_unique<Folded>(
      Folded{gate.weight, skip.weight, Tensor::from_values(gate.bias.shape(), bias), psi.weight, psi.bias});
}

namespace {

Tensor folded_gate(const Tensor& g, const Tensor& x, const kernels::FoldedGateWeights& weights,
                   int64_t intermediate_channels, const Tensor& into) {
  require_activation("attention_gate", "g", g);
  require_activation("attention_gate", "x", x);
  require_alike("attention_gate", g, x);
  const Tensor y = into.defined() ? into.detach() : Tensor::activation_like(x);
  kernels::attention_gate_inference(y.view(), g.view<const float>(), x.view<const float>(), weights,
                                    {.gate_channels = g.size(4),
                                     .skip_channels = x.size(4),
                                     .intermediate_channels = intermediate_channels},
                                    exec_of(x));
  return y;
}

}  // namespace

Tensor AttentionGate::operator()(const Tensor& g, const Tensor& x, const Tensor& into,
                                 const NormOperands& norm_of_g, const NormOperands& norm_of_x) const {
  require(fused_ || (!norm_of_g.statistics.mean.defined() && !norm_of_x.statistics.mean.defined()),
          "AttentionGate: a norm of g or x needs the fused gate");
  if (!fused_) {
    const auto branch = [](const Branch& b, const Tensor& input) { return b.norm(b.convolution(input)); };
    return multiply(x, sigmoid(branch(psi_, relu(add(branch(gate_, g), branch(skip_, x))))));
  }
  if (folded_ != nullptr && x.dtype() == DType::float32 && !Context::get().recording()) {
    const Folded& f = *folded_;
    return folded_gate(
        g, x,
        {f.weight_gate.data<const float>(), f.weight_skip.data<const float>(), f.bias.data<const float>(),
         f.weight_psi.data<const float>(), f.bias_psi.data<const float>()},
        f.bias.elements(), into);
  }
  if (training()) {
    for (const Branch* branch : {&gate_, &skip_, &psi_}) branch->norm.count_batch();
  }
  return attention_gate(g, x, tensors(gate_), tensors(skip_), tensors(psi_),
                        {.training = training(), .momentum = gate_.norm.momentum(), .eps = gate_.norm.eps()},
                        into, norm_of_g, norm_of_x);
}

UnstoredGate AttentionGate::unstored(const UnstoredNorm& g, const UnstoredNorm& x) const {
  require(fused_ && training(), "AttentionGate: only the fused gate in training leaves its result");
  for (const Branch* branch : {&gate_, &skip_, &psi_}) branch->norm.count_batch();
  return unstored_attention_gate(
      g.x, x.x, tensors(gate_), tensors(skip_), tensors(psi_),
      {.training = true, .momentum = gate_.norm.momentum(), .eps = gate_.norm.eps()}, g.norm, x.norm);
}

}  // namespace vg
