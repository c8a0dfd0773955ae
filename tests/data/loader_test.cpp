#include "data/loader.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <numeric>

#include "support/expect_error.h"

namespace vg::test {
namespace {

using namespace vg::data;
using Order = std::vector<int64_t>;

/// A sample whose only voxel is its index.
Sample numbered(int64_t index) {
  Sample sample;
  sample.id = std::to_string(index);
  sample.extent = {1, 1, 1};
  sample.channels = 1;
  sample.image = {static_cast<float>(index)};
  sample.labels = {static_cast<uint8_t>(index)};
  return sample;
}

/// All indices of an epoch as next() gives them; checks that samples belong to their indices.
Order drain(Loader& loader) {
  Order seen;
  while (const auto batch = loader.next()) {
    EXPECT_EQ(batch->indices.size(), batch->samples.size());
    for (size_t n = 0; n < batch->indices.size(); ++n) {
      EXPECT_EQ(batch->samples[n]->image[0], static_cast<float>(batch->indices[n]));
    }
    seen.insert(seen.end(), batch->indices.begin(), batch->indices.end());
  }
  return seen;
}

TEST(EpochOrder, IsAPermutationOfSeedAndEpochAlone) {
  EXPECT_EQ(epoch_order(4, 1, 0, false), (Order{0, 1, 2, 3}));
  EXPECT_TRUE(epoch_order(0, 1, 0, true).empty());
  EXPECT_EQ(epoch_order(1, 1, 0, true), (Order{0}));
  const Order order = epoch_order(100, 7, 3, true);
  EXPECT_EQ(order, epoch_order(100, 7, 3, true));
  EXPECT_NE(order, epoch_order(100, 7, 4, true));
  EXPECT_NE(order, epoch_order(100, 8, 3, true));
  Order sorted = order;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, epoch_order(100, 0, 0, false));
  EXPECT_NE(order, sorted);
}

TEST(EpochOrder, EveryPlaceIsEquallyLikely) {
  constexpr int count = 4, epochs = 24000;
  std::array<std::array<int, count>, count> at{};
  for (int epoch = 0; epoch < epochs; ++epoch) {
    const Order order = epoch_order(count, 1, epoch, true);
    for (int n = 0; n < count; ++n) ++at[n][order[n]];
  }
  for (const auto& row : at) {
    for (int hits : row) EXPECT_NEAR(hits, epochs / count, 5 * std::sqrt(epochs / count));
  }
}

TEST(Loader, KeepsTheOrderWhateverTheWorkers) {
  const Order order = epoch_order(37, 5, 0, true);
  for (int workers : {1, 2, 5}) {
    for (int64_t prefetch : {1, 3}) {
      Loader loader(numbered, {.batch_size = 4, .workers = workers, .prefetch = prefetch});
      EXPECT_EQ(loader.next(), std::nullopt);
      for (int64_t epoch = 0; epoch < 3; ++epoch) {
        loader.start_epoch(order);
        EXPECT_EQ(loader.batches(), 10);
        EXPECT_EQ(drain(loader), order);
        EXPECT_EQ(loader.next(), std::nullopt);
      }
    }
  }
}

TEST(Loader, DropLastLeavesOutAnIncompleteBatch) {
  Loader loader(numbered, {.batch_size = 4, .drop_last = true});
  loader.start_epoch(epoch_order(11, 0, 0, false));
  EXPECT_EQ(loader.batches(), 2);
  EXPECT_EQ(drain(loader), (Order{0, 1, 2, 3, 4, 5, 6, 7}));
  loader.start_epoch({0, 1, 2});
  EXPECT_EQ(loader.batches(), 0);
  EXPECT_EQ(loader.next(), std::nullopt);
}

TEST(Loader, LoadsAheadButNotBeyondTheBound) {
  std::atomic<int> loaded{0};
  std::mutex mutex;
  std::condition_variable grew;
  const LoadSample load = [&](int64_t index) {
    const std::lock_guard lock(mutex);
    ++loaded;
    grew.notify_all();
    return numbered(index);
  };
  const auto wait_for = [&](int count) {
    std::unique_lock lock(mutex);
    grew.wait(lock, [&] { return loaded >= count; });
  };
  Loader loader(load, {.batch_size = 2, .workers = 2, .prefetch = 3});
  loader.start_epoch(epoch_order(100, 0, 0, false));
  wait_for(6);  // nobody has asked for a batch: the workers load ahead on their own
  EXPECT_TRUE(loader.next().has_value());
  wait_for(8);  // while the consumer is busy with the first batch, the next are loaded
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(loaded, 8);
}

TEST(Loader, ErrorsOfAWorkerReachTheConsumerInTheirPlace) {
  const LoadSample load = [](int64_t index) {
    if (index == 5) throw DataError("subject 5 is broken");
    return numbered(index);
  };
  for (int workers : {1, 3}) {
    Loader loader(load, {.batch_size = 2, .workers = workers});
    loader.start_epoch(epoch_order(10, 0, 0, false));
    EXPECT_EQ(loader.next()->indices, (Order{0, 1}));
    EXPECT_EQ(loader.next()->indices, (Order{2, 3}));
    expect_error<DataError>([&] { loader.next(); }, {"subject 5 is broken"});
    EXPECT_EQ(loader.next(), std::nullopt);
    loader.start_epoch({1, 2, 3});  // still usable
    EXPECT_EQ(drain(loader), (Order{1, 2, 3}));
  }
}

TEST(Loader, CacheLoadsOnce) {
  std::atomic<int> loads{0};
  const LoadSample load = [&](int64_t index) {
    ++loads;
    return numbered(index);
  };
  Loader loader(load, {.batch_size = 3, .workers = 2, .cache_bytes = 1000});
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    loader.start_epoch({2, 0, 1});
    const auto batch = loader.next();
    for (size_t n = 0; n < 3; ++n) {
      const int64_t index = batch->indices[n];
      EXPECT_EQ(batch->samples[n]->image[0], static_cast<float>(index));
    }
  }
  EXPECT_EQ(loads, 3);
  EXPECT_EQ(loader.cached_bytes(), 15u);
}

TEST(Loader, CacheKeepsToItsBudget) {
  std::atomic<int> loads{0};
  const LoadSample load = [&](int64_t index) {
    ++loads;
    return numbered(index);
  };
  Loader loader(load, {.cache_bytes = 11});  // two samples of 5 bytes
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    loader.start_epoch({0, 1, 2, 3});
    EXPECT_EQ(drain(loader), (Order{0, 1, 2, 3}));
  }
  EXPECT_EQ(loads, 4 + 2);
  EXPECT_EQ(loader.cached_bytes(), 10u);
}

TEST(Loader, AnEpochCanBeGivenUpAndTheLoaderDestroyedAtAnyTime) {
  for (int repeat = 0; repeat < 50; ++repeat) {
    Loader loader(numbered, {.batch_size = 2, .workers = 3, .prefetch = 2});
    loader.start_epoch(epoch_order(20, 0, 0, false));
    if (repeat % 2) {
      EXPECT_EQ(loader.next()->indices, (Order{0, 1}));
    }
    loader.start_epoch({7, 6, 5, 4});
    EXPECT_EQ(loader.next()->indices, (Order{7, 6}));
  }
}

TEST(Loader, MeasuresHowLongTheConsumerWaits) {
  const LoadSample load = [](int64_t index) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return numbered(index);
  };
  Loader loader(load, {});
  loader.start_epoch({0, 1, 2});
  drain(loader);
  EXPECT_GT(loader.wait_seconds(), 0);
  loader.start_epoch({});
  EXPECT_EQ(loader.wait_seconds(), 0);
}

TEST(Loader, WorkersKeepTheirThreadsToThemselves) {
  std::atomic<int> threads{0};
  const LoadSample load = [&](int64_t index) {
    threads = omp_get_max_threads();
    return numbered(index);
  };
  const int before = omp_get_max_threads();
  Loader loader(load, {.worker_threads = 3});
  loader.start_epoch({0});
  drain(loader);
  EXPECT_EQ(threads, 3);
  EXPECT_EQ(omp_get_max_threads(), before);
}

TEST(Loader, RejectsOptionsThatMakeNoSense) {
  expect_error<std::invalid_argument>([] { Loader(numbered, {.batch_size = 0}); }, {"batch_size is 0"});
  expect_error<std::invalid_argument>([] { Loader(numbered, {.workers = 0}); }, {"workers is 0"});
  expect_error<std::invalid_argument>([] { Loader(numbered, {.prefetch = 0}); }, {"prefetch is 0"});
  expect_error<std::invalid_argument>([] { Loader(LoadSample(), {}); }, {"no function"});
}

}  // namespace
}  // namespace vg::test
