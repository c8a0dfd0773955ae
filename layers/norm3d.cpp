#include "layers/norm3d.h"

#include <algorithm>

#include "engine/recompute.h"
#include "layers/norm_gradient.h"
#include "layers/op_support.h"

namespace vg {

using kernels::Norm3dParams;
using kernels::require;

namespace {

void apply_into(const Tensor& y, const Tensor& x, const Tensor& mean, const Tensor& variance,
                const Tensor& weight, const Tensor& bias, const Tensor& slope, const Norm3dParams& params) {
  with_element_type(x, [&]<class T>() {
    kernels::norm3d_apply(y.view<T>(), x.view<const T>(), mean.data<const float>(),
                          variance.data<const float>(), data_or_null(weight), data_or_null(bias),
                          data_or_null(slope), params, exec_of(x));
  });
}

/// Inputs: x, weight, bias, slope.
class Norm3dNode : public NormNode {
 public:
  Norm3dNode(Tensor x, Tensor mean, Tensor variance, Tensor weight, Tensor bias, Tensor slope,
             const Norm3dParams& params)
      : x_(std::move(x)),
        mean_(std::move(mean)),
        variance_(std::move(variance)),
        weight_(std::move(weight)),
        bias_(std::move(bias)),
        slope_(std::move(slope)),
        params_(params) {}
  const char* name() const override { return params_.per_instance ? "instance_norm" : "batch_norm"; }

  bool takes_sums() const override {
    return x_.dtype() == DType::bfloat16 && params_.activation.kind != ActivationKind::prelu;
  }
  void offer_sums(const Tensor& gradient, const Tensor& sums) override {
    // Held twice, the gradient is not added to where it lies: another that is added makes another tensor.
    summed_ = gradient.detach();
    sums_ = sums;
  }

  bool gives_output_again() const override { return true; }
  Tensor output_again() const override {
    Tensor y = Tensor::empty_like(x_);
    apply_into(y, x_, mean_, variance_, weight_, bias_, slope_, params_);
    return y;
  }

  void backward(const Tensor& grad_output) override {
    const bool summed = summed_.defined() && summed_.data<bfloat16>() == grad_output.data<bfloat16>();
    summed_ = Tensor();
    // The kernel wants room for every gradient of a tensor that is there, whether it is needed or not.
    const auto gradient = [this](size_t index, const Tensor& tensor) {
      if (!tensor.defined()) return Tensor();
      return needs(index) ? accumulation_buffer(index) : Tensor::empty_like(tensor);
    };
    const Tensor dweight = gradient(1, weight_), dbias = gradient(2, bias_), dslope = gradient(3, slope_);
    const auto pointer = [](const Tensor& t) { return t.defined() ? t.data<float>() : nullptr; };
    if (x_.dtype() == DType::bfloat16 && !params_.fixed_statistics)
      return in_halves(grad_output, {pointer(dweight), pointer(dbias), pointer(dslope)}, summed);
    const Tensor dx = reuse_or_allocate(grad_output);
    with_element_type(dx, [&]<class T>() {
      kernels::norm3d_backward(dx.view<T>(), pointer(dweight), pointer(dbias), pointer(dslope),
                               grad_output.view<const T>(), x_.view<const T>(), mean_.data<const float>(),
                               variance_.data<const float>(), data_or_null(weight_), data_or_null(bias_),
                               data_or_null(slope_), params_, exec_of(dx));
    });
    pass(0, dx);
  }

 private:
  void in_halves(const Tensor& dy, const kernels::NormGradients& gradients, bool summed) {
    const int64_t channels = x_.size(4), groups = mean_.elements() / channels;
    const NormOperands norm{
        {mean_, variance_, params_.per_instance}, weight_, bias_, {params_.activation, slope_}, params_.eps};
    const Tensor means = Tensor::empty({2, groups * channels}, DType::float32, x_.device());
    if (summed) {
      kernels::norm3d_add_gradients(means.data<float>(), gradients,
                                    {.partials = sums_.data<const float>(),
                                     .columns = 2,
                                     .groups = groups,
                                     .pieces = 1,
                                     .channels = channels,
                                     .count = x_.elements() / (groups * channels)},
                                    input_norm(norm), exec_of(dy));
    } else {
      kernels::norm3d_add_gradients(means.data<float>(), gradients, dy.view<const bfloat16>(),
                                    x_.view<const bfloat16>(), input_norm(norm), exec_of(dy));
    }
    pass(0, pass_unfinished(dy, {x_, norm, means}, origin(0)));
  }

  Tensor x_, mean_, variance_, weight_, bias_, slope_;
  Norm3dParams params_;
  Tensor summed_, sums_;  ///< what has been offered
};

/// Checks what batch_norm and instance_norm share and returns the kernel's parameters.
Norm3dParams check(const char* function, const Tensor& x, const Tensor& weight, const Tensor& bias,
                   const FusedActivation& activation, float eps, bool per_instance) {
  require_activation(function, "x", x);
  require(weight.defined() == bias.defined(), function, ": weight and bias go together");
  if (weight.defined()) {
    require_parameter(function, "weight", weight, {x.size(4)}, x);
    require_parameter(function, "bias", bias, {x.size(4)}, x);
  }
  Norm3dParams params{.per_instance = per_instance, .eps = eps, .activation = activation.params};
  const bool prelu = activation.params.kind == ActivationKind::prelu;
  require(prelu == activation.slope.defined(), function, ": a slope is for prelu, and prelu needs one");
  if (prelu) {
    require_slope(function, activation.slope, x);
    params.activation.slope_count = activation.slope.elements();
  }
  return params;
}

/// Those that were given, or computed.
ChannelStatistics statistics(const char* function, const Tensor& x, const Norm3dParams& params,
                             const ChannelStatistics& given) {
  const Shape groups = {kernels::norm3d_groups(x.size(0), x.size(4), params)};
  if (given.mean.defined()) {
    require(given.per_instance == params.per_instance, function, ": statistics of the wrong kind");
    require_parameter(function, "mean", given.mean, groups, x);
    require_parameter(function, "variance", given.variance, groups, x);
    return given;
  }
  const std::vector<Tensor> own = computed_once([&]() -> std::vector<Tensor> {
    const auto [mean, variance, per_instance] = ChannelStatistics::empty_for(x, params.per_instance);
    with_element_type(x, [&]<class T>() {
      kernels::norm3d_statistics(mean.template data<float>(), variance.template data<float>(),
                                 x.view<const T>(), params, exec_of(x));
    });
    return {mean, variance};
  });
  return {own[0], own[1], params.per_instance};
}

void update_running(const Tensor& running_mean, const Tensor& running_var, const ChannelStatistics& of_batch,
                    const Tensor& x, float momentum) {
  if (Context::get().computing_again()) return;
  const int64_t channels = x.size(4);
  kernels::norm3d_update_running(running_mean.data<float>(), running_var.data<float>(),
                                 of_batch.mean.data<const float>(), of_batch.variance.data<const float>(),
                                 channels, x.elements() / channels, momentum, exec_of(x));
}

Tensor apply(Tensor x, const Tensor& mean, const Tensor& variance, const Tensor& weight, const Tensor& bias,
             const Tensor& slope, const Norm3dParams& params, const NormFusion& fusion) {
  // Backward needs x; without one the result may take its place.
  const bool recorded = should_record({x, weight, bias, slope});
  const Tensor& into = fusion.into;
  const Tensor y = recorded && fusion.unread ? x.detach()
                   : into.defined()          ? into.detach()
                   : recorded                ? Tensor::empty_like(x)
                                             : reuse_or_allocate(x);
  if (!recorded || !fusion.unread) apply_into(y, x, mean, variance, weight, bias, slope, params);
  return record<Norm3dNode>(y, {x, weight, bias, slope}, x.detach(), mean, variance, weight.detach(),
                            bias.detach(), slope.detach(), params);
}

}  // namespace

kernels::InputNorm input_norm(const NormOperands& norm, int64_t first_channel) {
  return {
      norm.statistics.mean.data<const float>(),
      norm.statistics.variance.data<const float>(),
      data_or_null(norm.weight),
      data_or_null(norm.bias),
      data_or_null(norm.activation.slope),
      {.per_instance = norm.statistics.per_instance, .eps = norm.eps, .activation = norm.activation.params},
      first_channel};
}

Tensor batch_norm(Tensor x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                  const Tensor& running_var, const BatchNormParams& params, const NormFusion& fusion) {
  Norm3dParams kernel_params =
      check("batch_norm", x, weight, bias, params.activation, params.eps, /*per_instance=*/false);
  const int64_t channels = x.size(4), count = x.elements() / std::max<int64_t>(channels, 1);
  require(running_mean.defined() == running_var.defined(),
          "batch_norm: running mean and variance go together");
  if (running_mean.defined() || !params.training) {
    require_parameter("batch_norm", "running_mean", running_mean, {channels}, x);
    require_parameter("batch_norm", "running_var", running_var, {channels}, x);
  }
  kernel_params.fixed_statistics = !params.training;
  Tensor mean = running_mean.detach(), variance = running_var.detach();
  if (params.training) {
    require(count > 1, "batch_norm: expected more than one value per channel in training, got shape ",
            to_string(x.shape()));
    const ChannelStatistics of_batch = statistics("batch_norm", x, kernel_params, fusion.statistics);
    mean = of_batch.mean;
    variance = of_batch.variance;
    if (running_mean.defined()) update_running(running_mean, running_var, of_batch, x, params.momentum);
  }
  return apply(std::move(x), mean, variance, weight, bias, params.activation.slope, kernel_params, fusion);
}

Tensor instance_norm(Tensor x, const Tensor& weight, const Tensor& bias, const FusedActivation& activation,
                     float eps, const NormFusion& fusion) {
  const Norm3dParams params = check("instance_norm", x, weight, bias, activation, eps, /*per_instance=*/true);
  require(x.size(1) * x.size(2) * x.size(3) > 1, "instance_norm: expected more than one voxel, got shape ",
          to_string(x.shape()));
  const ChannelStatistics of_sample = statistics("instance_norm", x, params, fusion.statistics);
  return apply(std::move(x), of_sample.mean, of_sample.variance, weight, bias, activation.slope, params,
               fusion);
}

BatchNorm3d::BatchNorm3d(int64_t channels, Device device, float eps, float momentum)
    : eps_(eps),
      momentum_(momentum),
      weight_(register_parameter("weight", Tensor::full({channels}, 1, device))),
      bias_(register_parameter("bias", Tensor::full({channels}, 0, device))),
      running_mean_(register_buffer("running_mean", Tensor::full({channels}, 0, device))),
      running_var_(register_buffer("running_var", Tensor::full({channels}, 1, device))),
      num_batches_tracked_(register_buffer("num_batches_tracked", Tensor::zeros({}, DType::int64))) {}

Tensor BatchNorm3d::operator()(Tensor x, const FusedActivation& activation, const NormFusion& fusion) const {
  if (training()) count_batch();
  return batch_norm(std::move(x), weight_, bias_, running_mean_, running_var_,
                    {.training = training(), .momentum = momentum_, .eps = eps_, .activation = activation},
                    fusion);
}

NormOperands BatchNorm3d::operands(const Tensor& x, const ChannelStatistics& statistics,
                                   const FusedActivation& activation) const {
  require(training(), "BatchNorm3d: statistics of a batch are for training");
  count_batch();
  update_running(running_mean_, running_var_, statistics, x, momentum_);
  return {statistics, weight_, bias_, activation, eps_};
}

UnstoredNorm BatchNorm3d::unstored(const Tensor& x, const ChannelStatistics& statistics,
                                   const FusedActivation& activation) const {
  const Norm3dParams params =
      check("batch_norm", x, weight_, bias_, activation, eps_, /*per_instance=*/false);
  require(x.dtype() == DType::bfloat16 && !statistics.per_instance,
          "BatchNorm3d: a norm that is not stored is of bfloat16 with statistics of the batch");
  const NormOperands norm = operands(x, statistics, activation);
  return {record<Norm3dNode>(x.detach(), {x, weight_, bias_, activation.slope}, x.detach(), statistics.mean,
                             statistics.variance, weight_.detach(), bias_.detach(), activation.slope.detach(),
                             params),
          norm};
}

void BatchNorm3d::count_batch() const {
  if (Context::get().computing_again()) return;
  Context::get().host_work([count = num_batches_tracked_] { ++*count.data<int64_t>(); });
}

InstanceNorm3d::InstanceNorm3d(int64_t channels, bool affine, Device device, float eps)
    : channels_(channels), eps_(eps) {
  if (!affine) return;
  weight_ = &register_parameter("weight", Tensor::full({channels}, 1, device));
  bias_ = &register_parameter("bias", Tensor::full({channels}, 0, device));
}

Tensor InstanceNorm3d::operator()(Tensor x, const FusedActivation& activation,
                                  const NormFusion& fusion) const {
  require(x.is_activation() && x.size(4) == channels_, "InstanceNorm3d: expected ", channels_,
          " channels, got shape ", to_string(x.shape()));
  return instance_norm(std::move(x), weight(), bias(), activation, eps_, fusion);
}

}  // namespace vg
