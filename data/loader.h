// Loads samples ahead of the training loop, on threads of its own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "data/brats_dataset.h"

namespace vg::data {

/// The order in which an epoch visits `count` samples: 0, 1, 2, ... or, shuffled, a permutation that is a
/// function of (count, seed, epoch) alone (Fisher-Yates on Philox).
std::vector<int64_t> epoch_order(int64_t count, uint64_t seed, int64_t epoch, bool shuffle);

/// Samples that belong to one step, in the order of the epoch.
struct Batch {
  std::vector<int64_t> indices;
  std::vector<std::shared_ptr<const Sample>> samples;
};

struct LoaderOptions {
  int64_t batch_size = 1;
  int workers = 1;         ///< background threads
  int64_t prefetch = 2;    ///< batches loaded ahead of the one in use; bounds the memory
  size_t cache_bytes = 0;  ///< loaded samples kept for later epochs, in all; the first that fit
  bool drop_last = false;  ///< leave out a last batch that is not full
  int worker_threads = 1;  ///< OpenMP threads of each worker; the training loop has use for the rest
};

/// Reads and preprocesses one sample. Called by several threads at once; the same index must give the same
/// sample.
using LoadSample = std::function<Sample(int64_t index)>;

/// Usage: start_epoch(epoch_order(...)), then next() until it gives nothing. Batches come in the order
/// given, whatever the number of workers. One thread may use a Loader.
class Loader {
 public:
  /// Throws std::invalid_argument for options that make no sense.
  Loader(LoadSample load, LoaderOptions options);
  /// Stops the workers: each finishes the sample it has begun.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Begins to load. An epoch under way is given up.
  void start_epoch(std::vector<int64_t> order);
  /// The next batch; waits for it if need be. Nothing at the end of the epoch. What load threw
  /// for a sample of this batch is thrown here, and ends the epoch.
  std::optional<Batch> next();

  /// Batches of the epoch.
  int64_t batches() const;
  /// Seconds that next() has waited since start_epoch: what loading costs the training loop.
  double wait_seconds() const { return wait_seconds_; }
  /// Bytes held by the cache.
  size_t cached_bytes() const;

 private:
  struct Slot {
    std::shared_ptr<const Sample> sample;
    std::exception_ptr error;
  };

  void work();
  std::shared_ptr<const Sample> produce(int64_t index);
  int64_t end_of_epoch() const;

  const LoadSample load_;
  const LoaderOptions options_;
  double wait_seconds_ = 0;  // of the consumer's thread

  mutable std::mutex mutex_;  // guards all that follows
  std::condition_variable work_available_, sample_ready_;
  std::vector<int64_t> order_;
  int64_t generation_ = 0;  ///< of start_epoch: a worker drops what it has made for an earlier one
  int64_t next_to_load_ = 0, next_to_give_ = 0;             ///< positions in order_
  std::map<int64_t, Slot> ready_;                           ///< by position
  std::map<int64_t, std::shared_ptr<const Sample>> cache_;  ///< by index
  size_t cached_bytes_ = 0;
  bool stopping_ = false;

  std::vector<std::jthread> threads_;  // last: they are joined before the rest is destroyed
};

}  // namespace vg::data
