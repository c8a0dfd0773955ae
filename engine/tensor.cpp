#include "engine/tensor.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "engine/autograd.h"
#include "kernels/common/check.h"
#include "kernels/elementwise/elementwise.h"

namespace vg {

/// Owns one allocation of a device's caching allocator.
class Storage {
 public:
  Storage(Device device, size_t bytes)
      : device_(device),
        allocator_(Context::get().pool(device).allocator),
        pointer_(allocator_->allocate(bytes)) {}
  ~Storage() { allocator_->release(pointer_); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  [[nodiscard]] void* pointer() const { return pointer_; }
  [[nodiscard]] Device device() const { return device_; }

 private:
  Device device_;
  std::shared_ptr<Allocator> allocator_;
  void* pointer_;
};

size_t bytes_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return 4;
    case DType::bfloat16:
      return 2;
    case DType::uint8:
      return 1;
    case DType::int64:
      break;
  }
  return 8;
}

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::bfloat16:
      return "bfloat16";
    case DType::uint8:
      return "uint8";
    case DType::int64:
      break;
  }
  return "int64";
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

int64_t product(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

Tensor Tensor::empty(Shape shape, DType dtype, Device device) {
  Tensor t;
  t.storage_ = std::make_shared<Storage>(device, static_cast<size_t>(product(shape)) * bytes_of(dtype));
  t.shape_ = std::move(shape);
  t.dtype_ = dtype;
  return t;
}

Tensor Tensor::zeros(Shape shape, DType dtype, Device device) {
  Tensor t = empty(std::move(shape), dtype, device);
  // All types are zero in all bytes.
  kernels::fill(kernels::flat_view(static_cast<uint8_t*>(t.typed_data(dtype)),
                                   t.elements() * static_cast<int64_t>(bytes_of(dtype))),
                uint8_t{0}, Context::get().exec(device));
  return t;
}

Tensor Tensor::full(Shape shape, float value, Device device) {
  Tensor t = empty(std::move(shape), DType::float32, device);
  t.fill(value);
  return t;
}

Tensor Tensor::from_memory(Shape shape, DType dtype, const void* values, size_t count, Device device) {
  kernels::require(static_cast<int64_t>(count) == product(shape), "tensor of shape ", to_string(shape),
                   ": got ", count, " values");
  Tensor t = empty(std::move(shape), dtype, device);
  kernels::copy_memory(t.typed_data(dtype), device, values, Device::cpu, count * bytes_of(dtype),
                       Context::get().exec(device).stream);
  return t;
}

Tensor Tensor::activation(int64_t n, int64_t d, int64_t h, int64_t w, int64_t c, Device device, DType dtype) {
  Tensor t;
  t.halo_ = device == Device::cpu && dtype == DType::float32 ? 1 : 0;
  const int64_t halo = t.halo_;
  t.shape_ = {n, d, h, w, c};
  t.dtype_ = dtype;
  t.activation_ = true;
  t.strides_[3] = c;
  t.strides_[2] = t.strides_[3] * (w + 2 * halo);
  t.strides_[1] = t.strides_[2] * (h + 2 * halo);
  t.strides_[0] = t.strides_[1] * (d + 2 * halo);
  t.offset_ = halo * (t.strides_[1] + t.strides_[2] + t.strides_[3]);
  t.storage_ = std::make_shared<Storage>(device, static_cast<size_t>(n * t.strides_[0]) * bytes_of(dtype));
  if (halo > 0) kernels::zero_halo(t.view(), Context::get().exec(device));
  return t;
}

Tensor Tensor::activation_like(const Tensor& other, int64_t channels) {
  kernels::require(other.is_activation(), "activation_like: expected an activation, got shape ",
                   to_string(other.shape()));
  return activation(other.shape_[0], other.shape_[1], other.shape_[2], other.shape_[3],
                    channels < 0 ? other.shape_[4] : channels, other.device(), other.dtype());
}

Tensor Tensor::empty_like(const Tensor& other) {
  return other.is_activation() ? activation_like(other) : empty(other.shape_, other.dtype_, other.device());
}

Tensor Tensor::activation_from_ncdhw(const std::vector<float>& values, int64_t n, int64_t c, int64_t d,
                                     int64_t h, int64_t w, Device device) {
  kernels::require(static_cast<int64_t>(values.size()) == n * c * d * h * w, "activation_from_ncdhw: got ",
                   values.size(), " values, expected ", n * c * d * h * w);
  Tensor t = activation(n, d, h, w, c, Device::cpu);
  const View<float> view = t.view();
  const int64_t plane = d * h * w;
  for (int64_t row = 0; row < view.rows(); ++row) {
    const int64_t sample = row / (d * h), first = row % (d * h) * w;
    for (int64_t x = 0; x < w; ++x) {
      for (int64_t channel = 0; channel < c; ++channel) {
        view.row(row)[x * view.stride_w + channel] =
            values[static_cast<size_t>((sample * c + channel) * plane + first + x)];
      }
    }
  }
  return t.to(device);
}

Device Tensor::device() const {
  if (storage_ == nullptr) throw std::logic_error("undefined tensor");
  return storage_->device();
}

void* Tensor::typed_data(DType dtype) const {
  if (storage_ == nullptr) throw std::logic_error("undefined tensor");
  if (dtype != dtype_) {
    throw std::logic_error(std::string("tensor of type ") + dtype_name(dtype_) + " used as " +
                           dtype_name(dtype));
  }
  return static_cast<std::byte*>(storage_->pointer()) + static_cast<size_t>(offset_) * bytes_of(dtype_);
}

Tensor Tensor::channels(int64_t begin, int64_t end) const {
  kernels::require(activation_ && 0 <= begin && begin < end && end <= shape_[4], "channels: [", begin, ", ",
                   end, ") of a tensor of shape ", to_string(shape_));
  Tensor t = detach();
  t.offset_ += begin;
  t.shape_[4] = end - begin;
  return t;
}

Tensor Tensor::joined(const std::vector<Tensor>& parts) {
  kernels::require(!parts.empty() && parts[0].activation_, "joined: expected activations");
  Tensor whole = parts[0].detach();
  for (size_t i = 1; i < parts.size(); ++i) {
    const Tensor& part = parts[i];
    const bool same_voxels =
        part.activation_ && std::equal(part.shape_.begin(), part.shape_.begin() + 4, whole.shape_.begin());
    if (!same_voxels || part.storage_ != whole.storage_ || part.dtype_ != whole.dtype_ ||
        part.strides_ != whole.strides_ || part.offset_ != whole.offset_ + whole.shape_[4])
      return {};
    whole.shape_[4] += part.shape_[4];
  }
  return whole;
}

Tensor Tensor::reshaped(Shape shape) const {
  kernels::require(!activation_ && product(shape) == elements(), "reshaped: from ", to_string(shape_), " to ",
                   to_string(shape));
  Tensor t = detach();
  t.shape_ = std::move(shape);
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = empty_like(*this);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(Device target) const {
  if (target == device()) return *this;
  Tensor t = activation_ ? activation(shape_[0], shape_[1], shape_[2], shape_[3], shape_[4], target, dtype_)
                         : empty(shape_, dtype_, target);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(DType target) const {
  if (target == dtype_) return *this;
  Tensor t = activation_ ? activation(shape_[0], shape_[1], shape_[2], shape_[3], shape_[4], device(), target)
                         : empty(shape_, target, device());
  const kernels::Exec exec = Context::get().exec(device());
  if (target == DType::bfloat16 && dtype_ == DType::float32) {
    kernels::cast(t.view<bfloat16>(), view<const float>(), exec);
  } else if (target == DType::float32 && dtype_ == DType::bfloat16) {
    kernels::cast(t.view<float>(), view<const bfloat16>(), exec);
  } else {
    throw std::logic_error(std::string("cast from ") + dtype_name(dtype_) + " to " + dtype_name(target) +
                           " is not supported");
  }
  return t;
}

namespace {

// One run of memory with the same content. Only activations have gaps: a halo, or channels of others.
bool is_compact(const Tensor& t) {
  if (!t.is_activation()) return true;
  if (t.dtype() == DType::uint8) return t.view<uint8_t>().contiguous();
  return t.dtype() == DType::bfloat16 ? t.view<bfloat16>().contiguous() : t.view().contiguous();
}

void copy_on_device(const Tensor& destination, const Tensor& source) {
  const kernels::Exec exec = Context::get().exec(destination.device());
  if (destination.dtype() == DType::float32) {
    kernels::copy(destination.view(), source.view<const float>(), exec);
  } else if (destination.dtype() == DType::bfloat16) {
    kernels::copy(destination.view<bfloat16>(), source.view<const bfloat16>(), exec);
  } else if (destination.dtype() == DType::uint8) {
    kernels::copy(destination.view<uint8_t>(), source.view<const uint8_t>(), exec);
  } else {
    throw std::logic_error(std::string("strided copy of type ") + dtype_name(destination.dtype()) +
                           " is not supported");
  }
}

}  // namespace

Tensor Tensor::compact() const {
  if (is_compact(*this)) return *this;
  Tensor t = empty(shape_, dtype_, device());
  t.activation_ = true;
  t.strides_ = {shape_[1] * shape_[2] * shape_[3] * shape_[4], shape_[2] * shape_[3] * shape_[4],
                shape_[3] * shape_[4], shape_[4]};
  copy_on_device(t, *this);
  return t;
}

void Tensor::copy_from(const Tensor& source) const {
  kernels::require(shape_ == source.shape_ && dtype_ == source.dtype_, "copy_from: got ",
                   dtype_name(source.dtype_), " ", to_string(source.shape_), ", expected ",
                   dtype_name(dtype_), " ", to_string(shape_));
  if (device() == source.device() && (!is_compact(*this) || !is_compact(source)))
    return copy_on_device(*this, source);
  // Between devices whole runs of memory travel; gaps are closed on the one side and opened on the other.
  const Tensor packed = source.compact();
  Tensor landing = *this;
  if (!is_compact(*this)) {
    landing = empty(shape_, dtype_, device());
    landing.activation_ = true;
    landing.strides_ = packed.strides_;
  }
  kernels::copy_memory(landing.typed_data(dtype_), device(), packed.typed_data(dtype_), source.device(),
                       static_cast<size_t>(elements()) * bytes_of(dtype_),
                       Context::get().exec(device() == Device::cuda ? device() : source.device()).stream);
  if (!is_compact(*this)) copy_on_device(*this, landing);
}

void Tensor::fill(float value) const {
  with_element_type(*this,
                    [&]<class T>() { kernels::fill(view<T>(), value, Context::get().exec(device())); });
}

void Tensor::copy_to_host(void* destination, DType dtype) const {
  const Tensor packed = compact();
  kernels::copy_memory(destination, Device::cpu, packed.typed_data(dtype), device(),
                       static_cast<size_t>(elements()) * bytes_of(dtype_),
                       Context::get().exec(device()).stream);
}

std::vector<float> Tensor::values_ncdhw() const {
  kernels::require(activation_, "values_ncdhw: expected an activation, got shape ", to_string(shape_));
  const std::vector<float> ndhwc = values<float>();
  std::vector<float> result(ndhwc.size());
  const int64_t plane = shape_[1] * shape_[2] * shape_[3], channels = shape_[4];
  for (int64_t sample = 0; sample < shape_[0]; ++sample) {
    for (int64_t voxel = 0; voxel < plane; ++voxel) {
      for (int64_t c = 0; c < channels; ++c) {
        result[static_cast<size_t>((sample * channels + c) * plane + voxel)] =
            ndhwc[static_cast<size_t>((sample * plane + voxel) * channels + c)];
      }
    }
  }
  return result;
}

float Tensor::item() const {
  kernels::require(elements() == 1, "item: expected one element, got shape ", to_string(shape_));
  return values<float>()[0];
}

Tensor& Tensor::set_requires_grad(bool requires_grad) {
  meta_ = requires_grad ? std::make_shared<AutogradMeta>() : nullptr;
  if (meta_ != nullptr) meta_->leaf = true;
  return *this;
}

bool Tensor::requires_grad() const {
  return meta_ != nullptr;
}

Tensor Tensor::grad() const {
  return meta_ != nullptr ? meta_->grad : Tensor();
}

void Tensor::set_grad(Tensor gradient) const {
  if (meta_ == nullptr) throw std::logic_error("set_grad: the tensor does not require a gradient");
  meta_->grad = std::move(gradient);
}

Tensor Tensor::detach() const {
  Tensor t = *this;
  t.meta_ = nullptr;
  return t;
}

void Tensor::backward(float seed) const {
  if (meta_ == nullptr)
    throw std::logic_error("backward: the tensor was not computed from anything that requires a gradient");
  kernels::require(elements() == 1, "backward: expected one element, got shape ", to_string(shape_));
  run_backward(meta_, full(shape_, seed, device()));
}

}  // namespace vg
