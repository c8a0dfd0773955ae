#include <engine/backward_order.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace exercise::engine {
namespace {

using Graph = std::vector<std::vector<int>>;

void check(const Graph& inputs, int root) {
  const std::vector<int> order = backward_order(inputs, root);
  std::vector<int> place(inputs.size(), -1);
  for (size_t i = 0; i < order.size(); ++i) {
    ASSERT_TRUE(order[i] >= 0 && static_cast<size_t>(order[i]) < inputs.size()) << "operation " << order[i];
    int& p = place[static_cast<size_t>(order[i])];
    ASSERT_EQ(p, -1) << "operation " << order[i] << " appears twice: its inputs would get its gradient twice";
    p = static_cast<int>(i);
  }
  ASSERT_FALSE(order.empty());
  EXPECT_EQ(order.front(), root) << "backward starts at the loss";
  std::vector<bool> needed(inputs.size(), false);
  std::vector<int> pending{root};
  needed[static_cast<size_t>(root)] = true;
  for (size_t i = 0; i < pending.size(); ++i) {
    for (const int input : inputs[static_cast<size_t>(pending[i])]) {
      if (!needed[static_cast<size_t>(input)]) pending.push_back(input);
      needed[static_cast<size_t>(input)] = true;
    }
  }
  for (size_t n = 0; n < inputs.size(); ++n) {
    ASSERT_EQ(place[n] >= 0, needed[n])
        << "operation " << n << (needed[n] ? " is needed and missing" : " does not lead to the loss");
    if (!needed[n]) continue;
    for (const int input : inputs[n]) {
      ASSERT_LT(place[n], place[static_cast<size_t>(input)])
          << "operation " << input << " runs before " << n << ", which still has a gradient for it";
    }
  }
}

TEST(EngineBackwardOrder, OneOperation) {
  check({{}}, 0);
}
TEST(EngineBackwardOrder, TheSameInputTwice) {
  check({{}, {0, 0}}, 1);
}
TEST(EngineBackwardOrder, OperationsBesideTheLoss) {
  check({{}, {0}, {0}, {1}}, 3);
}

TEST(EngineBackwardOrder, ASkipConnection) {
  // 0 -> 1 -> 2 -> 3, and 0 -> 3: by the short way 0 is found first, but 1 comes before it.
  check({{}, {0}, {1}, {0, 2}}, 3);
}

TEST(EngineBackwardOrder, RandomGraphs) {
  std::mt19937 generator(1);
  for (int run = 0; run < 50 && !HasFatalFailure(); ++run) {
    const int count = 30;
    std::vector<int> name(count);  // operations are numbered in no particular order
    std::iota(name.begin(), name.end(), 0);
    std::shuffle(name.begin(), name.end(), generator);
    Graph inputs(count);
    for (int n = 1; n < count; ++n) {
      for (int i = 0; i < 2; ++i)
        inputs[static_cast<size_t>(name[static_cast<size_t>(n)])].push_back(
            name[generator() % static_cast<uint32_t>(n)]);
    }
    check(inputs, name[count - 1]);
  }
}

TEST(EngineBackwardOrder, AChainOfAMillion) {
  Graph inputs(1000000);
  for (size_t n = 1; n < inputs.size(); ++n) inputs[n].push_back(static_cast<int>(n) - 1);
  check(inputs, static_cast<int>(inputs.size()) - 1);
}

}  // namespace
}  // namespace exercise::engine
