#include "engine/transfer.h"

#include <cstring>
#include <stdexcept>

#include "kernels/common/check.h"

namespace vg {

float ScalarQueue::pop() {
  if (entries_.empty()) throw std::logic_error("ScalarQueue: no value to take");
  Entry entry = std::move(entries_.front());
  entries_.pop_front();
#ifdef VOXGRAD_WITH_CUDA
  if (entry.on_device) {
    kernels::check_cuda(cudaEventSynchronize(entry.arrived.get()));
    entry.value = *static_cast<const float*>(entry.landing.get());
    const float value = entry.value;
    spare_.push_back(std::move(entry));
    return value;
  }
#endif
  return entry.value;
}

void ScalarQueue::push(const Tensor& scalar) {
  kernels::require(scalar.elements() == 1, "ScalarQueue: expected one element, got shape ",
                   to_string(scalar.shape()));
  if (scalar.device() == Device::cpu) {
    entries_.push_back({scalar.item(), {}, {}, false});
    return;
  }
#ifdef VOXGRAD_WITH_CUDA
  Entry entry;
  if (spare_.empty()) {
    entry = {0, make_pinned_memory(sizeof(float)), make_cuda_event(), true};
  } else {
    entry = std::move(spare_.back());
    spare_.pop_back();
  }
  const auto stream = static_cast<cudaStream_t>(Context::get().exec(Device::cuda).stream);
  kernels::check_cuda(cudaMemcpyAsync(entry.landing.get(), scalar.data<const float>(), sizeof(float),
                                      cudaMemcpyDeviceToHost, stream));
  kernels::check_cuda(cudaEventRecord(entry.arrived.get(), stream));
  entries_.push_back(std::move(entry));
#endif
}

Uploader::Batch::Batch(Uploader& uploader, size_t bytes) : uploader_(uploader) {
  if (uploader.device_ == Device::cuda) uploader.prepare(uploader.slot(), bytes);
}

#ifdef VOXGRAD_WITH_CUDA

namespace {
cudaStream_t compute_stream() {
  return static_cast<cudaStream_t>(Context::get().exec(Device::cuda).stream);
}
}  // namespace

Uploader::~Uploader() {
  // Copies in flight read and write the memory that goes away now.
  if (stream_.get() != nullptr) kernels::print_cuda_error(cudaStreamSynchronize(stream_.get()));
}

// Makes the slot's memory large enough and waits until its last use is over: the host for the pinned memory,
// the stream of copies for the device's.
void Uploader::prepare(Slot& slot, size_t bytes) {
  if (stream_.get() == nullptr) stream_ = make_cuda_stream();
  if (slot.copied.get() == nullptr) {
    slot.copied = make_cuda_event();
    slot.consumed = make_cuda_event();
  }
  kernels::check_cuda(cudaEventSynchronize(slot.copied.get()));
  kernels::check_cuda(cudaStreamWaitEvent(stream_.get(), slot.consumed.get(), 0));
  if (slot.bytes >= bytes) return;
  slot.pinned = make_pinned_memory(bytes);
  slot.memory = Tensor::empty({static_cast<int64_t>(bytes)}, DType::uint8, Device::cuda);
  slot.bytes = bytes;
  // The allocator's memory may still be read by earlier work on Context's stream.
  kernels::check_cuda(cudaEventRecord(slot.consumed.get(), compute_stream()));
  kernels::check_cuda(cudaStreamWaitEvent(stream_.get(), slot.consumed.get(), 0));
}

const void* Uploader::Batch::add_bytes(const void* values, size_t bytes) {
  if (bytes == 0) return nullptr;
  if (uploader_.device_ == Device::cpu) return values;
  Slot& slot = uploader_.slot();
  kernels::require(used_ + bytes <= slot.bytes, "Uploader: ", used_ + bytes, " bytes added to a batch of ",
                   slot.bytes);
  std::byte* const pinned = static_cast<std::byte*>(slot.pinned.get()) + used_;
  uint8_t* const memory = slot.memory.data<uint8_t>() + used_;
  std::memcpy(pinned, values, bytes);
  const cudaStream_t stream = uploader_.stream_.get();
  kernels::check_cuda(cudaMemcpyAsync(memory, pinned, bytes, cudaMemcpyHostToDevice, stream));
  kernels::check_cuda(cudaEventRecord(slot.copied.get(), stream));
  kernels::check_cuda(cudaStreamWaitEvent(compute_stream(), slot.copied.get(), 0));
  used_ += (bytes + part_alignment - 1) / part_alignment * part_alignment;
  return memory;
}

Uploader::Batch::~Batch() {
  if (uploader_.device_ == Device::cpu) return;
  kernels::print_cuda_error(cudaEventRecord(uploader_.slot().consumed.get(), compute_stream()));
  ++uploader_.turn_;
}

#else

Uploader::~Uploader() = default;
void Uploader::prepare(Slot&, size_t) {
  kernels::throw_built_without_cuda();
}
const void* Uploader::Batch::add_bytes(const void* values, size_t bytes) {
  return bytes == 0 ? nullptr : values;
}
Uploader::Batch::~Batch() = default;

#endif

}  // namespace vg
