// Tensor: a handle on shared storage with shape, type, device and, if it takes part in autograd, its gradient
// and the operation that made it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/context.h"
#include "kernels/common/view.h"

namespace vg {

using kernels::bfloat16;
using kernels::View;

enum class DType : uint8_t { float32, bfloat16, uint8, int64 };
size_t bytes_of(DType dtype);
const char* dtype_name(DType dtype);

/// The DType of a C++ type.
template <class T>
constexpr DType dtype_of() {
  using U = std::remove_const_t<T>;
  static_assert(std::is_same_v<U, float> || std::is_same_v<U, bfloat16> || std::is_same_v<U, uint8_t> ||
                std::is_same_v<U, int64_t>);
  if constexpr (std::is_same_v<U, float>) return DType::float32;
  if constexpr (std::is_same_v<U, bfloat16>) return DType::bfloat16;
  if constexpr (std::is_same_v<U, uint8_t>) return DType::uint8;
  return DType::int64;
}

using Shape = std::vector<int64_t>;
std::string to_string(const Shape& shape);
int64_t product(const Shape& shape);

class Storage;        // owner of one allocation
struct AutogradMeta;  // gradient and origin, see autograd.h

/// Two kinds of tensors share this class. Activations have five dimensions in memory order N, D, H, W, C,
/// strides, and on the CPU a halo of one zero voxel around D, H and W, so that convolutions need no edge
/// code. All others (parameters, scalars) are contiguous, in PyTorch's order of dimensions. Copying a Tensor
/// copies the handle; clone() copies the memory.
class Tensor {
 public:
  Tensor() = default;

  /// Contiguous and uninitialised.
  static Tensor empty(Shape shape, DType dtype = DType::float32, Device device = Device::cpu);
  static Tensor zeros(Shape shape, DType dtype = DType::float32, Device device = Device::cpu);
  static Tensor full(Shape shape, float value, Device device = Device::cpu);
  /// Contiguous, from values in row-major order. Throws std::invalid_argument if their number does not fit.
  template <class T>
  static Tensor from_values(Shape shape, const std::vector<T>& values, Device device = Device::cpu) {
    return from_memory(std::move(shape), dtype_of<T>(), values.data(), values.size(), device);
  }
  /// An activation [N, D, H, W, C]: interior uninitialised, halo (CPU, float32: one voxel) zero.
  static Tensor activation(int64_t n, int64_t d, int64_t h, int64_t w, int64_t c, Device device,
                           DType dtype = DType::float32);
  /// An activation like `other` with `channels` channels (default: as many).
  static Tensor activation_like(const Tensor& other, int64_t channels = -1);
  /// Uninitialised, with the shape, type, device and kind of `other`.
  static Tensor empty_like(const Tensor& other);
  /// An activation from values in PyTorch's order N, C, D, H, W.
  static Tensor activation_from_ncdhw(const std::vector<float>& values, int64_t n, int64_t c, int64_t d,
                                      int64_t h, int64_t w, Device device);

  [[nodiscard]] bool defined() const { return storage_ != nullptr; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] int64_t size(int dimension) const { return shape_.at(static_cast<size_t>(dimension)); }
  [[nodiscard]] int64_t elements() const { return product(shape_); }
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] Device device() const;
  [[nodiscard]] bool is_activation() const { return activation_; }
  /// Number of handles on this storage (views included).
  [[nodiscard]] long storage_use_count() const { return storage_.use_count(); }

  /// First element. Throws std::logic_error if T is not the tensor's type.
  template <class T>
  [[nodiscard]] T* data() const {
    return static_cast<T*>(typed_data(dtype_of<T>()));
  }
  /// For kernels: an activation as [N,D,H,W,C]; anything else as one flat row.
  template <class T = float>
  [[nodiscard]] View<T> view() const {
    T* const first = data<T>();
    if (!activation_) return kernels::flat_view(first, elements());
    return {first,       shape_[0],   shape_[1],   shape_[2],   shape_[3], shape_[4],
            strides_[0], strides_[1], strides_[2], strides_[3], halo_};
  }

  /// Channels [begin, end) of an activation, sharing its storage. Not recorded.
  [[nodiscard]] Tensor channels(int64_t begin, int64_t end) const;
  /// The activation whose neighbouring channel slices `parts` are, in their order, sharing their storage;
  /// undefined if they are not neighbours in one storage. Not recorded.
  static Tensor joined(const std::vector<Tensor>& parts);
  /// The same contiguous memory with another shape. Not recorded.
  [[nodiscard]] Tensor reshaped(Shape shape) const;
  /// A deep copy (of an activation: with a halo again). Not recorded.
  [[nodiscard]] Tensor clone() const;
  /// A copy on the device, or this tensor if it is there. Not recorded.
  [[nodiscard]] Tensor to(Device device) const;
  /// A copy of a float32 or bfloat16 tensor as the other type (rounded to nearest even), or this tensor if it
  /// has the type. Not recorded.
  [[nodiscard]] Tensor to(DType dtype) const;
  /// Copies values and nothing else from a tensor of the same shape and type, on any device. Not recorded.
  void copy_from(const Tensor& source) const;
  void fill(float value) const;

  /// Values in row-major order of shape(), on the host.
  template <class T = float>
  [[nodiscard]] std::vector<T> values() const {
    std::vector<T> result(static_cast<size_t>(elements()));
    copy_to_host(result.data(), dtype_of<T>());
    return result;
  }
  /// Values of an activation in PyTorch's order N, C, D, H, W, on the host.
  [[nodiscard]] std::vector<float> values_ncdhw() const;
  /// The value of a tensor with one element. Waits for the device.
  [[nodiscard]] float item() const;

  // Autograd (autograd.h)
  /// Marks a leaf: backward() leaves its gradient in grad().
  Tensor& set_requires_grad(bool requires_grad);
  /// True for such leaves and for whatever was computed from them while recording.
  [[nodiscard]] bool requires_grad() const;
  /// The accumulated gradient of a leaf; undefined before the first backward().
  [[nodiscard]] Tensor grad() const;
  void set_grad(Tensor gradient) const;
  /// This tensor without its history.
  [[nodiscard]] Tensor detach() const;
  /// Runs the tape backward from this tensor of one element, with gradient 1 (or `seed`). Frees the tape as
  /// it goes.
  void backward(float seed = 1) const;
  [[nodiscard]] const std::shared_ptr<AutogradMeta>& autograd_meta() const { return meta_; }
  void set_autograd_meta(std::shared_ptr<AutogradMeta> meta) { meta_ = std::move(meta); }

 private:
  static Tensor from_memory(Shape shape, DType dtype, const void* values, size_t count, Device device);
  [[nodiscard]] void* typed_data(DType dtype) const;
  void copy_to_host(void* destination, DType dtype) const;
  /// This tensor in one run of memory on its device (itself if it is).
  [[nodiscard]] Tensor compact() const;

  std::shared_ptr<Storage> storage_;
  int64_t offset_ = 0;  ///< of the first element, in elements
  Shape shape_;
  std::array<int64_t, 4> strides_{};  ///< of N, D, H, W; activations only
  DType dtype_ = DType::float32;
  bool activation_ = false;
  int halo_ = 0;
  std::shared_ptr<AutogradMeta> meta_;
};

/// Calls function.operator()<T>() with T the type of a floating-point tensor's elements: float or bfloat16.
/// Throws std::logic_error for other types.
template <class Function>
void with_element_type(const Tensor& tensor, const Function& function) {
  if (tensor.dtype() == DType::bfloat16) return function.template operator()<bfloat16>();
  function.template operator()<float>();
}

/// A tensor under its full name, e.g. "model.0.conv.0.conv.weight".
using NamedTensor = std::pair<std::string, Tensor>;

}  // namespace vg
