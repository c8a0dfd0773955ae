#include "engine/recompute.h"

#include "engine/rng.h"
#include "kernels/elementwise/elementwise.h"
#include "support/devices.h"
#include "support/gradcheck.h"

namespace vg::test {
namespace {

using RecomputeTest = DeviceTest;
VG_ON_EVERY_DEVICE(RecomputeTest);

const Shape shape = {1, 2, 2, 2, 3};
const std::vector<float> ones(24, 1);

/// a * b. Inputs may be the same.
class ProductNode : public Node {
 public:
  ProductNode(Tensor a, Tensor b) : a_(std::move(a)), b_(std::move(b)) {}
  const char* name() const override { return "product"; }
  void backward(const Tensor& grad_output) override {
    const Tensor da = Tensor::empty_like(a_), db = Tensor::empty_like(b_);
    kernels::multiply_backward(da.view(), db.view(), grad_output.view<const float>(), a_.view<const float>(),
                               b_.view<const float>(), Context::get().exec(grad_output.device()));
    pass(0, da);
    pass(1, db);
  }

 private:
  Tensor a_, b_;
};

Tensor product_of(const Tensor& a, const Tensor& b) {
  const Tensor y = Tensor::empty_like(a);
  kernels::multiply(y.view(), a.view<const float>(), b.view<const float>(), Context::get().exec(a.device()));
  return record<ProductNode>(y, {a, b}, a.detach(), b.detach());
}

Tensor leaf(float value, Device device) {
  return activation_from(shape, std::vector<float>(24, value), device).set_requires_grad(true);
}

std::vector<float> all(float value) {
  return std::vector<float>(24, value);
}

TEST_P(RecomputeTest, CallsTheFunctionAgainInBackwardAndGivesItsGradients) {
  const Tensor x = leaf(3, device()), w = leaf(2, device());
  int calls = 0;
  std::vector<bool> recording, again;
  const Tensor y = recompute(
      [&](const std::vector<Tensor>& in) {
        ++calls;
        recording.push_back(Context::get().recording());
        again.push_back(Context::get().computing_again());
        return product_of(product_of(in[0], in[0]), w);
      },
      {x}, {w});
  EXPECT_EQ(y.values(), all(18));
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(Context::get().recording());
  weighted_sum(y, ones).backward();
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(recording, (std::vector<bool>{false, true}));
  EXPECT_EQ(again, (std::vector<bool>{false, true}));
  EXPECT_FALSE(Context::get().computing_again());
  EXPECT_EQ(x.grad().values(), all(12));  // 2 x w
  EXPECT_EQ(w.grad().values(), all(9));
}

// Inputs with other readers before and after, one that needs no gradient, and one that is not used.
TEST_P(RecomputeTest, GradientsOfOtherReadersAddUp) {
  const Tensor a = leaf(2, device()), b = leaf(5, device()), constant = leaf(7, device()).detach();
  const Tensor x = product_of(a, a);
  const auto function = [](const std::vector<Tensor>& in) { return product_of(in[0], in[2]); };
  const Tensor y = recompute(function, {x, b, constant}, {});  // 7 x
  const Tensor z = product_of(product_of(y, x), b);            // 7 x^2 b
  weighted_sum(z, ones).backward();
  EXPECT_EQ(a.grad().values(), all(7 * 5 * 4 * 8));  // 28 a^3 b
  EXPECT_EQ(b.grad().values(), all(7 * 16));
  EXPECT_FALSE(constant.grad().defined());
  weighted_sum(recompute(function, {a, b, constant}, {}), ones).backward();  // into gradients that are there
  EXPECT_EQ(a.grad().values(), all(7 * 5 * 4 * 8 + 7));
  EXPECT_EQ(b.grad().values(), all(7 * 16));
}

TEST_P(RecomputeTest, KeepsNothingButTheInputs) {
  const Allocator& allocator = Context::get().allocator(device());
  const Tensor x = leaf(1, device());
  const auto chain = [](const std::vector<Tensor>& in) {
    Tensor y = in[0];
    for (int i = 0; i < 6; ++i) y = product_of(y, y);
    return y;
  };
  size_t before = allocator.statistics().bytes_in_use;
  const Tensor one = leaf(1, device());
  const size_t of_one = allocator.statistics().bytes_in_use - before;
  before = allocator.statistics().bytes_in_use;
  {
    const Tensor y = recompute(chain, {x}, {});
    EXPECT_EQ(allocator.statistics().bytes_in_use, before + of_one);
    weighted_sum(y, ones).backward();
  }
  EXPECT_EQ(x.grad().values(), all(64));
  EXPECT_EQ(allocator.statistics().bytes_in_use, before + of_one);  // the gradient
}

TEST_P(RecomputeTest, WithoutNeedItIsAPlainCall) {
  const Tensor x = leaf(3, device());
  const auto square = [](const std::vector<Tensor>& in) { return product_of(in[0], in[0]); };
  EXPECT_FALSE(recompute(square, {x.detach()}, {}).requires_grad());
  const NoGradGuard guard;
  EXPECT_FALSE(recompute(square, {x}, {}).requires_grad());
}

TEST_P(RecomputeTest, WithinAnotherItRepeatsTheSameDraws) {
  Rng rng(1, 40);
  const Tensor x = leaf(3, device());
  std::vector<uint64_t> outer_draws, inner_draws;
  std::vector<bool> again;
  const auto square = [&](const std::vector<Tensor>& in) {
    inner_draws.push_back(rng.next_offset());
    again.push_back(Context::get().computing_again());
    return product_of(in[0], in[0]);
  };
  const Tensor y = recompute(
      [&](const std::vector<Tensor>& in) {
        outer_draws.push_back(rng.next_offset());
        const Tensor squared = recompute(square, in, {});
        outer_draws.push_back(rng.next_offset());
        return product_of(squared, in[0]);
      },
      {x}, {});
  weighted_sum(y, ones).backward();
  EXPECT_EQ(outer_draws, (std::vector<uint64_t>{40, 42, 40, 42}));
  EXPECT_EQ(inner_draws, (std::vector<uint64_t>{41, 41, 41}));
  EXPECT_EQ(again, (std::vector<bool>{false, true, true}));
  EXPECT_EQ(rng.next_offset(), 43u);
  EXPECT_EQ(x.grad().values(), all(27));
}

TEST_P(RecomputeTest, WhatIsComputedOnceIsKept) {
  const Tensor x = leaf(3, device());
  int computed = 0;
  std::vector<float> sums;
  std::vector<bool> unread;
  const auto sum = [&](float value) {
    const std::vector<Tensor> result = computed_once([&]() -> std::vector<Tensor> {
      ++computed;
      return {Tensor::full({1}, value, device())};
    });
    sums.push_back(result[0].item());
  };
  const auto inner = [&](const std::vector<Tensor>& in) {
    sum(2);
    unread.push_back(Context::get().result_unread());
    return product_of(in[0], in[0]);
  };
  const auto outer = [&](const std::vector<Tensor>& in) {
    sum(1);
    const Tensor y = recompute(inner, in, {});
    sum(3);
    unread.push_back(Context::get().result_unread());
    return product_of(y, in[0]);
  };
  sum(4);
  EXPECT_FALSE(Context::get().result_unread());
  const Tensor y = recompute(outer, {x}, {});
  weighted_sum(y, ones).backward();
  EXPECT_EQ(computed, 4);
  EXPECT_EQ(sums, (std::vector<float>{4, 1, 2, 3, 1, 2, 3, 2}));
  // Called for the second time the outer function reads what the inner one gives.
  EXPECT_EQ(unread, (std::vector<bool>{false, false, false, true, true}));
  EXPECT_EQ(x.grad().values(), all(27));
}

TEST_P(RecomputeTest, DrawsAreRepeated) {
  Rng rng(1, 40);
  const Tensor x = leaf(3, device());
  std::vector<uint64_t> drawn;
  bool one_more = false;
  const auto function = [&](const std::vector<Tensor>& in) {
    for (int i = 0; i < (one_more ? 3 : 2); ++i) drawn.push_back(rng.next_offset());
    return product_of(in[0], in[0]);
  };
  Tensor y = recompute(function, {x}, {});
  EXPECT_EQ(rng.next_offset(), 42u);
  weighted_sum(y, ones).backward();
  EXPECT_EQ(drawn, (std::vector<uint64_t>{40, 41, 40, 41}));
  EXPECT_EQ(rng.next_offset(), 43u);
  y = recompute(function, {x}, {});
  one_more = true;
  const Tensor loss = weighted_sum(y, ones);
  EXPECT_THROW(loss.backward(), std::logic_error);
  EXPECT_FALSE(Context::get().computing_again());
}

}  // namespace
}  // namespace vg::test
