// Transfers between host and device that neither side waits for.
#pragma once

#include <array>
#include <deque>
#include <vector>

#include "engine/cuda_handles.h"
#include "engine/tensor.h"

namespace vg {

/// Scalars on their way from the device: the host reads a step's loss when the next step is already running.
/// First in, first out. On the CPU values are there at once.
class ScalarQueue {
 public:
  /// Starts the copy of a float32 tensor of one element, in the order of Context's stream.
  void push(const Tensor& scalar);
  /// The oldest value; waits for it. Throws std::logic_error if there is none.
  float pop();
  [[nodiscard]] size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    float value = 0;       ///< on the CPU
    PinnedMemory landing;  ///< on CUDA, with the event that says it holds the value
    CudaEvent arrived;
    bool on_device = false;
  };
  std::deque<Entry> entries_;
  std::vector<Entry> spare_;  ///< pinned memory and events to use again
};

/// Batches on their way to the device, through two buffers of pinned memory and on a stream of its own: a
/// batch travels while the device computes the one before. On the CPU nothing is copied.
class Uploader {
 public:
  explicit Uploader(Device device) : device_(device) {}
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;
  [[nodiscard]] Device device() const { return device_; }

  /// One batch. While it lives, work given to Context's stream may read what was added.
  class Batch {
   public:
    /// `bytes`: the sum of what will be added, each part rounded up to `part_alignment`.
    Batch(Uploader& uploader, size_t bytes);
    ~Batch();
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    /// Values where the device reads them, in later work on Context's stream; null for none. The vector is
    /// free again when this returns (on the CPU: it is what is read).
    template <class T>
    const T* add(const std::vector<T>& values) {
      return static_cast<const T*>(add_bytes(values.data(), values.size() * sizeof(T)));
    }

   private:
    const void* add_bytes(const void* values, size_t bytes);
    Uploader& uploader_;
    size_t used_ = 0;
  };
  static constexpr size_t part_alignment = 256;

 private:
  struct Slot {
    PinnedMemory pinned;
    Tensor memory;  ///< on the device
    size_t bytes = 0;
    CudaEvent copied;    ///< pinned memory is free again
    CudaEvent consumed;  ///< memory on the device is free again
  };
  void prepare(Slot& slot, size_t bytes);
  Slot& slot() { return slots_[turn_ % slots_.size()]; }

  Device device_;
  CudaStream stream_;
  std::array<Slot, 2> slots_;
  size_t turn_ = 0;
};

}  // namespace vg
