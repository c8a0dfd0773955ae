#include <cstring>
#include <unordered_map>

#include "bench/opponents/libraries.h"
#include "bench/opponents/onednn.h"

namespace vg::bench {

namespace {

using dnnl::memory;
using Arguments = std::unordered_map<int, memory>;

// oneDNN wants a padding after the end that makes the extents agree exactly.
memory::dims end_padding(const ConvTask& t) {
  const auto one = [&](int64_t large, int64_t small) {
    return (small - 1) * t.stride + t.kernel_size - large - t.padding;
  };
  return {one(t.large.d, t.small.d), one(t.large.h, t.small.h), one(t.large.w, t.small.w)};
}

// The descriptors of source, weights and destination that a plan is made for.
struct Layouts {
  memory::desc source, weights, destination;
};

Layouts user_layouts(const ConvTask& t) {
  return {onednn_desc(t.transposed ? t.small : t.large), onednn_weights_desc(t),
          onednn_desc(t.transposed ? t.large : t.small)};
}

memory::desc any_layout(const memory::desc& d) {
  return {d.dims(), d.data_type(), memory::format_tag::any};
}

enum class Direction : uint8_t { forward, backward_data, backward_weights };

Direction direction_of(const ConvTask& t) {
  if (t.pass == ConvPass::weights) return Direction::backward_weights;
  return (t.pass == ConvPass::gather) != t.transposed ? Direction::forward : Direction::backward_data;
}

// What ran, and where its operands are to lie.
struct Plan {
  dnnl::primitive primitive;
  Layouts layouts;
  std::string implementation;
};

template <class Forward, class BackwardData, class BackwardWeights>
Plan make_plan(const ConvTask& t, const Layouts& l, dnnl::algorithm algorithm, const dnnl::engine& engine) {
  const memory::dims strides(3, t.stride), begin(3, t.padding), end = end_padding(t);
  const typename Forward::primitive_desc forward(
      typename Forward::desc(dnnl::prop_kind::forward_training, algorithm, l.source, l.weights, l.destination,
                             strides, begin, end),
      engine);
  switch (direction_of(t)) {
    case Direction::backward_data: {
      const typename BackwardData::primitive_desc plan(
          typename BackwardData::desc(algorithm, l.source, l.weights, l.destination, strides, begin, end),
          engine, forward);
      return {BackwardData(plan),
              {plan.diff_src_desc(), plan.weights_desc(), plan.diff_dst_desc()},
              plan.impl_info_str()};
    }
    case Direction::backward_weights: {
      const typename BackwardWeights::primitive_desc plan(
          typename BackwardWeights::desc(algorithm, l.source, l.weights, l.destination, strides, begin, end),
          engine, forward);
      return {BackwardWeights(plan),
              {plan.src_desc(), plan.diff_weights_desc(), plan.diff_dst_desc()},
              plan.impl_info_str()};
    }
    case Direction::forward:
      break;
  }
  return {dnnl::primitive(Forward(forward)),
          {forward.src_desc(), forward.weights_desc(), forward.dst_desc()},
          forward.impl_info_str()};
}

// Weights lie as the library likes them (it packs them outside the timer, ours within), activations either
// so too or channels-last.
class OnednnConv : public Opponent {
 public:
  OnednnConv(const ConvTask& task, bool any)
      : task_(task), direction_(direction_of(task)), user_(user_layouts(task)), any_(any) {
    Layouts wanted = user_;
    wanted.weights = any_layout(wanted.weights);
    if (any) {
      wanted.source = any_layout(wanted.source);
      wanted.destination = any_layout(wanted.destination);
    }
    plan_ = task.transposed ? make_plan<dnnl::deconvolution_forward, dnnl::deconvolution_backward_data,
                                        dnnl::deconvolution_backward_weights>(
                                  task, wanted, dnnl::algorithm::deconvolution_direct, onednn_.engine)
                            : make_plan<dnnl::convolution_forward, dnnl::convolution_backward_data,
                                        dnnl::convolution_backward_weights>(
                                  task, wanted, dnnl::algorithm::convolution_auto, onednn_.engine);
    for (int i = 0; i < task.sets; ++i) sets_.push_back(make_set());
  }
  std::string name() const override { return any_ ? "oneDNN any" : "oneDNN ndhwc"; }
  void run(int set) override {
    plan_.primitive.execute(onednn_.stream, sets_[static_cast<size_t>(set)]);
    onednn_.stream.wait();
  }
  std::vector<float> result() override {
    const auto [argument, layout] = output();
    const memory::desc dense = *layout;
    memory plain(dense, onednn_.engine);
    memory& from = sets_.front().at(argument);
    dnnl::reorder(from, plain).execute(onednn_.stream, from, plain);
    onednn_.stream.wait();
    const auto* values = static_cast<const float*>(plain.get_data_handle());
    return {values, values + dense.get_size() / sizeof(float)};
  }

 private:
  // The result's argument and the user's layout of it.
  std::pair<int, const memory::desc*> output() const {
    if (direction_ == Direction::forward) return {DNNL_ARG_DST, &user_.destination};
    if (direction_ == Direction::backward_data) return {DNNL_ARG_DIFF_SRC, &user_.source};
    return {DNNL_ARG_DIFF_WEIGHTS, &user_.weights};
  }
  // Memory of a layout with the values of `from`, which lie as `user` says.
  memory filled(const memory::desc& layout, const memory::desc& user, const float* from) {
    memory plain(user, onednn_.engine), result(layout, onednn_.engine);
    std::memcpy(plain.get_data_handle(), from, user.get_size());
    dnnl::reorder(plain, result).execute(onednn_.stream, plain, result);
    onednn_.stream.wait();
    return result;
  }
  Arguments make_set() {
    const Layouts& l = plan_.layouts;
    const float* source = task_.transposed ? task_.small.data : task_.large.data;
    const float* destination = task_.transposed ? task_.large.data : task_.small.data;
    Arguments arguments;
    if (direction_ == Direction::backward_data) {
      arguments.emplace(DNNL_ARG_DIFF_SRC, memory(l.source, onednn_.engine));
    } else {
      arguments.emplace(DNNL_ARG_SRC, filled(l.source, user_.source, source));
    }
    if (direction_ == Direction::backward_weights) {
      arguments.emplace(DNNL_ARG_DIFF_WEIGHTS, memory(l.weights, onednn_.engine));
    } else {
      arguments.emplace(DNNL_ARG_WEIGHTS, filled(l.weights, user_.weights, task_.weights));
    }
    if (direction_ == Direction::forward) {
      arguments.emplace(DNNL_ARG_DST, memory(l.destination, onednn_.engine));
    } else {
      arguments.emplace(DNNL_ARG_DIFF_DST, filled(l.destination, user_.destination, destination));
    }
    return arguments;
  }

  ConvTask task_;
  Direction direction_;
  Layouts user_;
  bool any_;
  Onednn onednn_;
  Plan plan_;
  std::vector<Arguments> sets_;
};

}  // namespace

memory::desc onednn_desc(const View<const float>& v) {
  return {memory::dims{v.n, v.c, v.d, v.h, v.w}, memory::data_type::f32,
          memory::dims{v.stride_n, 1, v.stride_d, v.stride_h, v.stride_w}};
}

memory::desc onednn_weights_desc(const ConvTask& t) {
  const int64_t k = t.kernel_size, taps = t.taps(), row = t.large.c * taps;
  if (t.transposed)
    return {memory::dims{t.large.c, t.small.c, k, k, k}, memory::data_type::f32,
            memory::dims{taps, row, k * k, k, 1}};
  return {memory::dims{t.small.c, t.large.c, k, k, k}, memory::data_type::f32,
          memory::dims{row, taps, k * k, k, 1}};
}

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
         std::to_string(version->patch);
}

std::vector<std::unique_ptr<Opponent>> make_conv_opponents_onednn(const ConvTask& task, std::string&) {
  std::vector<std::unique_ptr<Opponent>> opponents;
  opponents.push_back(std::make_unique<OnednnConv>(task, true));
  opponents.push_back(std::make_unique<OnednnConv>(task, false));
  return opponents;
}

}  // namespace vg::bench
