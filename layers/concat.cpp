#include "layers/concat.h"

#include "kernels/elementwise/elementwise.h"
#include "layers/op_support.h"

namespace vg {

namespace {

class ConcatNode : public Node {
 public:
  explicit ConcatNode(std::vector<int64_t> channels) : channels_(std::move(channels)) {}
  const char* name() const override { return "concat"; }

  void backward(const Tensor& grad_output) override {
    int64_t begin = 0;
    for (size_t i = 0; i < channels_.size(); ++i) {
      pass(i, grad_output.channels(begin, begin + channels_[i]));
      begin += channels_[i];
    }
  }

 private:
  std::vector<int64_t> channels_;  ///< of each input
};

}  // namespace

Tensor concat(const std::vector<Tensor>& inputs) {
  kernels::require(!inputs.empty(), "concat: no inputs");
  std::vector<int64_t> channels;
  int64_t total = 0;
  for (const Tensor& input : inputs) {
    require_activation("concat", "input", input);
    require_alike("concat", inputs[0], input);
    channels.push_back(input.size(4));
    total += input.size(4);
  }
  if (const Tensor whole = Tensor::joined(inputs); whole.defined())
    return record<ConcatNode>(whole, inputs, std::move(channels));
  const Tensor y = Tensor::activation_like(inputs[0], total);
  int64_t begin = 0;
  for (const Tensor& input : inputs) {
    kernels::require(same_voxels(input, y), "concat: got ", to_string(inputs[0].shape()), " and ",
                     to_string(input.shape()));
    with_element_type(y, [&]<class T>() {
      kernels::copy(y.view<T>().channels(begin, begin + input.size(4)), input.view<const T>(), exec_of(y));
    });
    begin += input.size(4);
  }
  return record<ConcatNode>(y, inputs, std::move(channels));
}

}  // namespace vg
