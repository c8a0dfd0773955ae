#include <gtest/gtest.h>
#include <reduce/thread_independent_sum.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <random>
#include <thread>

#include "support/random_data.h"

namespace exercise::reduce {
namespace {

struct Outcome {
  float sum;
  int64_t most_pieces;
};

/// The sum by `threads` threads that take the pieces in an order drawn from `seed`.
Outcome sum_of(const std::vector<float>& values, int threads, uint32_t seed) {
  int64_t most_pieces = 0;
  const auto run = [&](int64_t pieces, const auto& work) {
    most_pieces = std::max(most_pieces, pieces);
    std::vector<int64_t> order(static_cast<size_t>(pieces));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    std::atomic<size_t> next = 0;
    std::vector<std::jthread> workers;
    for (int t = 0; t < threads; ++t) {
      workers.emplace_back([&] {
        for (size_t i = next++; i < order.size(); i = next++) work(order[i]);
      });
    }
  };
  const float sum = thread_independent_sum(values.data(), static_cast<int64_t>(values.size()), run);
  return {sum, most_pieces};
}

TEST(ReduceThreadIndependentSum, IntegersAreExact) {
  for (const int64_t count : {0, 1, 2, 1000, 16384, 16385, 100003}) {
    const auto values = vg::test::integers(count, 1);
    EXPECT_EQ(sum_of(values, 3, 1).sum, std::accumulate(values.begin(), values.end(), 0.0f))
        << count << " values: is one left out at the end of a piece?";
  }
}

TEST(ReduceThreadIndependentSum, SameBitsForAnyNumberOfThreads) {
  auto values = vg::test::uniform(1 << 20, 2);
  for (size_t i = 0; i < values.size(); i += 7) values[i] *= 1000;  // so that each addition rounds
  const Outcome one = sum_of(values, 1, 1);
  EXPECT_GE(one.most_pieces, 8) << "pieces of 2^20 values: eight threads would have nothing to do";
  for (int threads = 1; threads <= 8; ++threads) {
    for (uint32_t seed = 2; seed < 4; ++seed) {
      EXPECT_EQ(sum_of(values, threads, seed).sum, one.sum)
          << threads
          << " threads, pieces taken in another order: what follows from the order in which they finish?";
    }
  }
}

}  // namespace
}  // namespace exercise::reduce
