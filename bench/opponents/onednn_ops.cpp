// Batch norm and resampling of oneDNN, channels-last and in its blocked layout.
#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "bench/opponents/libraries.h"
#include "bench/opponents/onednn.h"

namespace vg::bench {

namespace {

using dnnl::memory;
using Arguments = std::unordered_map<int, memory>;
using Tag = memory::format_tag;

memory::desc volume_desc(const memory::dims& extents, Tag tag) {
  return {extents, memory::data_type::f32, tag};
}

// A primitive with its operands; the result lies in `output`.
class OnednnOp : public Opponent {
 public:
  std::string name() const override { return tag_ == Tag::ndhwc ? "oneDNN ndhwc" : "oneDNN nCdhw16c"; }
  void run(int set) override {
    primitive_.execute(onednn_.stream, sets_[static_cast<size_t>(set)]);
    onednn_.stream.wait();
  }
  std::vector<float> result() override {
    memory& from = sets_.front().at(output_);
    const memory::desc dense = volume_desc(from.get_desc().dims(), Tag::ndhwc);
    memory plain(dense, onednn_.engine);
    reorder(from, plain);
    const auto* values = static_cast<const float*>(plain.get_data_handle());
    return {values, values + dense.get_size() / sizeof(float)};
  }

 protected:
  OnednnOp(Tag tag, int output) : tag_(tag), output_(output) {}

  void reorder(memory& from, memory& to) {
    dnnl::reorder(from, to).execute(onednn_.stream, from, to);
    onednn_.stream.wait();
  }
  // A volume in this layout with dense channels-last values.
  memory volume(const memory::dims& extents, const std::vector<float>& values) {
    memory plain(volume_desc(extents, Tag::ndhwc), onednn_.engine),
        result(volume_desc(extents, tag_), onednn_.engine);
    std::memcpy(plain.get_data_handle(), values.data(), values.size() * sizeof(float));
    reorder(plain, result);
    return result;
  }
  memory empty_volume(const memory::dims& extents) { return {volume_desc(extents, tag_), onednn_.engine}; }
  memory vector_of(const std::vector<float>& values) {
    memory result(memory::desc({static_cast<int64_t>(values.size())}, memory::data_type::f32, Tag::x),
                  onednn_.engine);
    std::memcpy(result.get_data_handle(), values.data(), values.size() * sizeof(float));
    return result;
  }

  Onednn onednn_;
  Tag tag_;
  int output_;
  dnnl::primitive primitive_;
  std::vector<Arguments> sets_;
};

class OnednnNorm : public OnednnOp {
 public:
  OnednnNorm(const NormTask& task, Tag tag)
      : OnednnOp(tag, task.backward ? DNNL_ARG_DIFF_SRC : DNNL_ARG_DST) {
    using Flags = dnnl::normalization_flags;
    const memory::dims extents = {task.n, task.c, task.d, task.h, task.w};
    const memory::desc layout = volume_desc(extents, tag);
    const Flags flags = Flags::use_scale | Flags::use_shift | Flags::fuse_norm_relu;
    const dnnl::batch_normalization_forward::primitive_desc forward(
        {dnnl::prop_kind::forward_training, layout, task.eps, flags}, onednn_.engine);
    for (int i = 0; i < task.sets; ++i) {
      sets_.push_back({{DNNL_ARG_SRC, volume(extents, task.x)},
                       {DNNL_ARG_DST, empty_volume(extents)},
                       {DNNL_ARG_SCALE, vector_of(task.gamma)},
                       {DNNL_ARG_SHIFT, vector_of(task.beta)},
                       {DNNL_ARG_MEAN, memory(forward.mean_desc(), onednn_.engine)},
                       {DNNL_ARG_VARIANCE, memory(forward.variance_desc(), onednn_.engine)},
                       {DNNL_ARG_WORKSPACE, memory(forward.workspace_desc(), onednn_.engine)}});
    }
    primitive_ = dnnl::batch_normalization_forward(forward);
    if (!task.backward) return;
    // The gradient reads statistics and the sign of every result, which forward leaves.
    for (int i = 0; i < task.sets; ++i) run(i);
    for (Arguments& set : sets_) {
      set.erase(DNNL_ARG_DST);
      set.emplace(DNNL_ARG_DIFF_DST, volume(extents, task.dy));
      set.emplace(DNNL_ARG_DIFF_SRC, empty_volume(extents));
      set.emplace(DNNL_ARG_DIFF_SCALE, vector_of(task.gamma));
      set.emplace(DNNL_ARG_DIFF_SHIFT, vector_of(task.beta));
    }
    primitive_ = dnnl::batch_normalization_backward(dnnl::batch_normalization_backward::primitive_desc(
        {dnnl::prop_kind::backward, layout, layout, task.eps, flags}, onednn_.engine, forward));
  }
};

class OnednnResample : public OnednnOp {
 public:
  OnednnResample(const ResampleTask& task, Tag tag)
      : OnednnOp(tag, task.backward ? DNNL_ARG_DIFF_SRC : DNNL_ARG_DST) {
    const memory::dims small = {task.n, task.c, task.d, task.h, task.w},
                       large = {task.n, task.c, 2 * task.d, 2 * task.h, 2 * task.w};
    const auto linear = dnnl::algorithm::resampling_linear;
    const dnnl::resampling_forward::primitive_desc forward(
        {dnnl::prop_kind::forward_training, linear, volume_desc(small, tag), volume_desc(large, tag)},
        onednn_.engine);
    primitive_ = dnnl::resampling_forward(forward);
    if (task.backward)
      primitive_ = dnnl::resampling_backward(dnnl::resampling_backward::primitive_desc(
          {linear, volume_desc(small, tag), volume_desc(large, tag)}, onednn_.engine, forward));
    for (int i = 0; i < task.sets; ++i) {
      if (task.backward) {
        sets_.push_back(
            {{DNNL_ARG_DIFF_DST, volume(large, task.large)}, {DNNL_ARG_DIFF_SRC, empty_volume(small)}});
      } else {
        sets_.push_back({{DNNL_ARG_SRC, volume(small, task.small)}, {DNNL_ARG_DST, empty_volume(large)}});
      }
    }
  }
};

template <class Op, class Task>
std::vector<std::unique_ptr<Opponent>> in_both_layouts(const Task& task) {
  std::vector<std::unique_ptr<Opponent>> opponents;
  opponents.push_back(std::make_unique<Op>(task, Tag::ndhwc));
  if (task.c % 16 == 0) opponents.push_back(std::make_unique<Op>(task, Tag::nCdhw16c));
  return opponents;
}

}  // namespace

std::vector<std::unique_ptr<Opponent>> make_norm_opponents_onednn(const NormTask& task) {
  return in_both_layouts<OnednnNorm>(task);
}

std::vector<std::unique_ptr<Opponent>> make_resample_opponents_onednn(const ResampleTask& task) {
  return in_both_layouts<OnednnResample>(task);
}

}  // namespace vg::bench
