// Random numbers for the engine: a seed and a count of draws. Philox makes every draw a function of both, so
// the state of a training run is two integers.
#pragma once

#include <cstdint>

#include "engine/tensor.h"

namespace vg {

class Rng {
 public:
  explicit Rng(uint64_t seed, uint64_t draws = 0) : seed_(seed), draws_(draws) {}

  [[nodiscard]] uint64_t seed() const { return seed_; }
  [[nodiscard]] uint64_t draws() const { return draws_; }
  /// The offset of the next draw; each call gives a new one. A function that recompute() computes again is
  /// given those of the first time.
  uint64_t next_offset();

  /// Fills a tensor with uniform values in [low, high).
  void uniform(const Tensor& tensor, float low, float high);
  /// Fills a tensor with normal values.
  void normal(const Tensor& tensor, float mean, float deviation);

 private:
  uint64_t seed_, draws_;
};

}  // namespace vg
