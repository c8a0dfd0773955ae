#include "apps/batch_tensors.h"

#include "kernels/augment/volumes.h"
#include "kernels/elementwise/elementwise.h"

namespace vg::apps {

namespace {

using kernels::View;

/// Memory of the host where it is, on a GPU a copy.
template <class T>
class OnDevice {
 public:
  OnDevice(const std::vector<T>& host, Device device) : data_(host.data()) {
    if (device == Device::cpu || host.empty()) return;
    copy_ = Tensor::from_values({static_cast<int64_t>(host.size())}, host, device);
    data_ = copy_.data<T>();
  }
  const T* data() const { return data_; }

 private:
  Tensor copy_;
  const T* data_;
};

/// Volumes [C, D, H, W] as channels of one batch entry [1, D, H, W, C].
void interleave(const View<float>& y, const View<const float>& x, const kernels::Exec& exec) {
  for (int64_t c = 0; c < x.n; ++c)
    kernels::copy(y.channels(c, c + 1), kernels::volume_range(x, c, c + 1), exec);
}

void add_sample(const data::Sample& sample, std::span<const data::AppliedTransform> transforms,
                const View<float>& images, const View<uint8_t>& labels, Device device) {
  const kernels::Exec exec = Context::get().exec(device);
  const auto [d, h, w] = sample.extent;
  const auto volumes = [&](auto* memory, int64_t count) {
    return kernels::contiguous_view(memory, memory == nullptr ? 0 : count, d, h, w, 1);
  };
  const OnDevice<float> image(sample.image, device);
  const OnDevice<uint8_t> classes(sample.labels, device);
  const bool labelled = !sample.labels.empty();
  const data::SubjectViews<const float, const uint8_t> source{
      volumes(image.data(), sample.channels), volumes(labelled ? classes.data() : nullptr, 1)};
  if (transforms.empty()) {
    interleave(images, source.images, exec);
    if (labelled) kernels::copy(labels, source.labels, exec);
    return;
  }
  const Tensor transformed = Tensor::empty({sample.channels * sample.voxels()}, DType::float32, device);
  const View<float> result = volumes(transformed.data<float>(), sample.channels);
  data::apply_transforms(transforms, {result, labels}, source, sample.geometry, exec);
  interleave(images, result, exec);
}

}  // namespace

BatchTensors batch_tensors(const std::vector<std::shared_ptr<const data::Sample>>& samples, Device device,
                           std::span<const std::vector<data::AppliedTransform>> transforms) {
  const data::Sample& first = *samples.front();
  const auto [depth, height, width] = first.extent;
  const auto count = static_cast<int64_t>(samples.size());
  const BatchTensors batch{Tensor::activation(count, depth, height, width, first.channels, device),
                           Tensor::activation(count, depth, height, width, 1, device, DType::uint8)};
  for (int64_t n = 0; n < count; ++n) {
    const data::Sample& sample = *samples[static_cast<size_t>(n)];
    if (sample.extent != first.extent) {
      throw data::DataError(
          sample.id + ": size after preprocessing differs from that of " + first.id +
          " in the same batch; use --batch-size 1 or a preprocessing that makes sizes equal");
    }
    const std::span<const data::AppliedTransform> drawn =
        transforms.empty() ? std::span<const data::AppliedTransform>() : transforms[static_cast<size_t>(n)];
    add_sample(sample, drawn, kernels::volume_range(batch.images.view(), n, n + 1),
               kernels::volume_range(batch.labels.view<uint8_t>(), n, n + 1), device);
  }
  return batch;
}

}  // namespace vg::apps
