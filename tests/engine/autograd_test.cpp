#include "engine/autograd.h"

#include <functional>

#include "kernels/elementwise/elementwise.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using AutogradTest = DeviceTest;
VG_ON_EVERY_DEVICE(AutogradTest);

const Shape shape = {1, 2, 2, 2, 3};
const std::vector<float> ones(24, 1);

/// a * b + c, saving a and b; c may be undefined. Calls `on_backward` when backward starts.
class MultiplyAddNode : public Node {
 public:
  MultiplyAddNode(Tensor a, Tensor b, std::function<void()> on_backward)
      : a_(std::move(a)), b_(std::move(b)), on_backward_(std::move(on_backward)) {}
  const char* name() const override { return "multiply_add"; }
  void backward(const Tensor& grad_output) override {
    if (on_backward_) on_backward_();
    const Tensor da = Tensor::empty_like(a_), db = Tensor::empty_like(b_);
    kernels::multiply_backward(da.view(), db.view(), grad_output.view<const float>(), a_.view<const float>(),
                               b_.view<const float>(), Context::get().exec(grad_output.device()));
    pass(0, da);
    pass(1, db);
    pass(2, grad_output);
  }

 private:
  Tensor a_, b_;
  std::function<void()> on_backward_;
};

Tensor multiply_add(const Tensor& a, const Tensor& b, const Tensor& c,
                    std::function<void()> on_backward = nullptr) {
  const Tensor y = Tensor::empty_like(a);
  const kernels::Exec exec = Context::get().exec(a.device());
  kernels::multiply(y.view(), a.view<const float>(), b.view<const float>(), exec);
  if (c.defined()) kernels::accumulate(y.view(), c.view<const float>(), 1, exec);
  return record<MultiplyAddNode>(y, {a, b, c}, a.detach(), b.detach(), std::move(on_backward));
}

Tensor leaf(float value, Device device) {
  return activation_from(shape, std::vector<float>(24, value), device).set_requires_grad(true);
}

TEST_P(AutogradTest, SharedInputsAddUp) {
  const Tensor x = leaf(3, device());
  const Tensor y = multiply_add(x, x, x);  // x^2 + x
  EXPECT_EQ(y.values(), std::vector<float>(24, 12));
  weighted_sum(y, ones).backward();
  EXPECT_EQ(x.grad().values(), std::vector<float>(24, 7));
}

TEST_P(AutogradTest, GradientsAccumulateOverBackwardCalls) {
  const Tensor a = leaf(2, device()), b = leaf(5, device());
  for (int i = 0; i < 3; ++i) weighted_sum(multiply_add(a, b, {}), ones).backward();
  EXPECT_EQ(a.grad().values(), std::vector<float>(24, 15));
  EXPECT_EQ(b.grad().values(), std::vector<float>(24, 6));
  a.set_grad({});
  EXPECT_FALSE(a.grad().defined());
}

// A diamond of unequal arms: the shared tensor's node must wait for both.
TEST_P(AutogradTest, NodesRunOnceAfterAllTheirReaders) {
  const Tensor a = leaf(2, device()), b = leaf(3, device());
  std::vector<int> log;
  const auto logs = [&](int id) { return [&log, id] { log.push_back(id); }; };
  const Tensor shared = multiply_add(a, b, {}, logs(1));        // 6
  const Tensor longer = multiply_add(shared, b, {}, logs(2));   // 18
  const Tensor longest = multiply_add(longer, b, {}, logs(3));  // 54
  const Tensor y = multiply_add(longest, b, shared, logs(4));   // 168 = a b (b^3 + 1)
  EXPECT_EQ(y.values(), std::vector<float>(24, 168));
  weighted_sum(y, ones).backward();
  EXPECT_EQ(log, (std::vector<int>{4, 3, 2, 1}));
  EXPECT_EQ(a.grad().values(), std::vector<float>(24, 84));   // b^4 + b
  EXPECT_EQ(b.grad().values(), std::vector<float>(24, 218));  // a (4 b^3 + 1)
}

TEST_P(AutogradTest, NothingIsRecordedWithoutNeed) {
  const Tensor x = leaf(3, device()), constant = leaf(2, device()).detach();
  {
    const NoGradGuard guard;
    EXPECT_FALSE(Context::get().recording());
    const Tensor y = multiply_add(x, x, x);
    EXPECT_FALSE(y.requires_grad());
    EXPECT_EQ(x.storage_use_count(), 1);
    { const NoGradGuard inner; }
    EXPECT_FALSE(Context::get().recording());
  }
  EXPECT_TRUE(Context::get().recording());
  EXPECT_FALSE(multiply_add(constant, constant, {}).requires_grad());
  const Tensor y = multiply_add(constant, x, constant);
  EXPECT_TRUE(y.requires_grad());
  weighted_sum(y, ones).backward();
  EXPECT_EQ(x.grad().values(), std::vector<float>(24, 2));
  EXPECT_FALSE(constant.grad().defined());
}

TEST_P(AutogradTest, DetachCutsTheTape) {
  const Tensor x = leaf(3, device());
  const Tensor y = multiply_add(multiply_add(x, x, {}).detach(), x, {});
  weighted_sum(y, ones).backward();
  EXPECT_EQ(x.grad().values(), std::vector<float>(24, 9));
}

TEST_P(AutogradTest, BackwardFreesWhatWasSavedAsItGoes) {
  const Allocator& allocator = Context::get().allocator(device());
  const Tensor x = leaf(1, device()), one = leaf(1, device()).detach();
  { weighted_sum(multiply_add(x, one, {}), ones).backward(); }  // the gradient of x is there from now on
  const size_t before = allocator.statistics().bytes_in_use;
  std::vector<size_t> in_use;
  Tensor y = x;
  for (int i = 0; i < 8; ++i)
    y = multiply_add(y, one, {}, [&] { in_use.push_back(allocator.statistics().bytes_in_use); });
  Tensor loss = weighted_sum(y, ones);
  y = Tensor();
  loss.backward();
  ASSERT_EQ(in_use.size(), 8u);
  for (size_t i = 1; i < in_use.size(); ++i) EXPECT_LT(in_use[i], in_use[i - 1]) << i;
  loss = Tensor();
  EXPECT_EQ(allocator.statistics().bytes_in_use, before);
}

TEST_P(AutogradTest, DroppedTapesAreFreed) {
  const Allocator& allocator = Context::get().allocator(device());
  const Tensor x = leaf(1, device());
  const size_t before = allocator.statistics().bytes_in_use;
  { const Tensor y = multiply_add(multiply_add(x, x, {}), x, {}); }
  EXPECT_EQ(allocator.statistics().bytes_in_use, before);
}

TEST_P(AutogradTest, SecondBackwardThroughAFreedTapeIsAnError) {
  const Tensor x = leaf(2, device());
  const Tensor shared = multiply_add(x, x, {});
  const Tensor loss = weighted_sum(shared, ones);
  loss.backward();
  EXPECT_THROW(loss.backward(), std::logic_error);
  EXPECT_THROW(weighted_sum(multiply_add(shared, x, {}), ones).backward(), std::logic_error);
  EXPECT_EQ(x.grad().values(), std::vector<float>(24, 4));
}

TEST_P(AutogradTest, WrongRootsAreErrors) {
  EXPECT_THROW(Tensor::full({1}, 1, device()).backward(), std::logic_error);
  EXPECT_THROW(leaf(1, device()).backward(), std::invalid_argument);
  EXPECT_THROW(Tensor::full({1}, 1, device()).set_grad({}), std::logic_error);
  Tensor parameter = Tensor::full({1}, 1, device());
  parameter.set_requires_grad(true);
  parameter.backward();
  parameter.backward(2);
  EXPECT_EQ(parameter.grad().item(), 3);
}

/// Passes on a gradient of another shape.
class WrongShapeNode : public Node {
 public:
  const char* name() const override { return "wrong_shape"; }
  void backward(const Tensor&) override { pass(0, Tensor::zeros({3})); }
};

TEST_P(AutogradTest, GradientsOfAnotherShapeAreErrors) {
  const Tensor x = leaf(1, device());
  const Tensor y = record<WrongShapeNode>(Tensor::full({1}, 1, device()), {x});
  EXPECT_THROW(y.backward(), std::logic_error);
}

}  // namespace
}  // namespace vg::test
