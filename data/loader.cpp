#include "data/loader.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include "kernels/common/check.h"
#include "kernels/common/philox.h"

namespace vg::data {
namespace {

// Separates these draws from those of other uses of the same seed ("shuffle" in ASCII).
constexpr uint64_t kShuffleStream = 0x73687566666c65;

/// Uniform in [0, bound) from 32 random bits (Lemire's multiplication; the bias is below bound / 2^32).
int64_t below(int64_t bound, uint32_t bits) {
  return static_cast<int64_t>((static_cast<uint64_t>(bits) * static_cast<uint64_t>(bound)) >> 32);
}

}  // namespace

std::vector<int64_t> epoch_order(int64_t count, uint64_t seed, int64_t epoch, bool shuffle) {
  kernels::require(count >= 0 && count < (int64_t{1} << 32), "epoch_order: count is ", count);
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), int64_t{0});
  if (!shuffle) return order;
  for (int64_t n = count - 1; n > 0; --n) {
    const kernels::Uint4 random =
        kernels::philox(seed ^ kShuffleStream, static_cast<uint64_t>(n), static_cast<uint64_t>(epoch));
    std::swap(order[n], order[below(n + 1, random.x)]);
  }
  return order;
}

Loader::Loader(LoadSample load, LoaderOptions options) : load_(std::move(load)), options_(options) {
  kernels::require(load_ != nullptr, "Loader: no function that loads a sample");
  kernels::require(options.batch_size > 0, "Loader: batch_size is ", options.batch_size,
                   ", expected at least 1");
  kernels::require(options.workers > 0, "Loader: workers is ", options.workers, ", expected at least 1");
  kernels::require(options.prefetch > 0, "Loader: prefetch is ", options.prefetch, ", expected at least 1");
  kernels::require(options.worker_threads > 0, "Loader: worker_threads is ", options.worker_threads,
                   ", expected at least 1");
  threads_.reserve(options.workers);
  try {
    for (int n = 0; n < options.workers; ++n) threads_.emplace_back([this] { work(); });
  } catch (...) {  // fewer threads than asked for: the destructor will not run, so those begun must be
                   // stopped here
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_available_.notify_all();
    throw;
  }
}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_available_.notify_all();
}

int64_t Loader::end_of_epoch() const {
  const auto count = static_cast<int64_t>(order_.size());
  return options_.drop_last ? count / options_.batch_size * options_.batch_size : count;
}

int64_t Loader::batches() const {
  const std::lock_guard lock(mutex_);
  return (end_of_epoch() + options_.batch_size - 1) / options_.batch_size;
}

size_t Loader::cached_bytes() const {
  const std::lock_guard lock(mutex_);
  return cached_bytes_;
}

void Loader::start_epoch(std::vector<int64_t> order) {
  {
    const std::lock_guard lock(mutex_);
    order_ = std::move(order);
    ++generation_;
    next_to_load_ = next_to_give_ = 0;
    ready_.clear();
  }
  wait_seconds_ = 0;
  work_available_.notify_all();
}

std::shared_ptr<const Sample> Loader::produce(int64_t index) {
  std::shared_ptr<const Sample> sample;
  {
    const std::lock_guard lock(mutex_);
    const auto found = cache_.find(index);
    if (found != cache_.end()) sample = found->second;
  }
  if (!sample) {
    sample = std::make_shared<const Sample>(load_(index));
    const std::lock_guard lock(mutex_);
    if (cached_bytes_ + sample->bytes() <= options_.cache_bytes && cache_.emplace(index, sample).second) {
      cached_bytes_ += sample->bytes();
    }
  }
  return sample;
}

void Loader::work() {
  omp_set_num_threads(options_.worker_threads);  // of this thread's parallel regions
  std::unique_lock lock(mutex_);
  while (true) {
    // next_to_give_ is past the batch that the consumer works on, or the begin of the one it waits for.
    work_available_.wait(lock, [&] {
      const int64_t window = options_.prefetch * options_.batch_size;
      return stopping_ || (next_to_load_ < end_of_epoch() && next_to_load_ < next_to_give_ + window);
    });
    if (stopping_) return;
    const int64_t position = next_to_load_++, index = order_[position], generation = generation_;
    lock.unlock();
    Slot slot;
    try {
      slot.sample = produce(index);
    } catch (...) {
      slot.error = std::current_exception();
    }
    lock.lock();
    if (generation == generation_) {
      ready_.emplace(position, std::move(slot));
      sample_ready_.notify_one();
    }
  }
}

std::optional<Batch> Loader::next() {
  std::unique_lock lock(mutex_);
  const int64_t end = std::min(end_of_epoch(), next_to_give_ + options_.batch_size);
  if (next_to_give_ >= end) return std::nullopt;
  Batch batch;
  for (int64_t position = next_to_give_; position < end; ++position) {
    if (!ready_.contains(position)) {
      const auto begin = std::chrono::steady_clock::now();
      sample_ready_.wait(lock, [&] { return ready_.contains(position); });
      wait_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    const Slot slot = std::move(ready_.extract(position).mapped());
    if (slot.error) {
      order_.clear();  // ends the epoch
      ++generation_;
      next_to_load_ = next_to_give_ = 0;
      ready_.clear();
      std::rethrow_exception(slot.error);
    }
    batch.indices.push_back(order_[position]);
    batch.samples.push_back(slot.sample);
  }
  next_to_give_ = end;
  lock.unlock();
  work_available_.notify_all();
  return batch;
}

}  // namespace vg::data
