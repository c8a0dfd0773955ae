#include "apps/batch_tensors.h"

#include "kernels/augment/volumes.h"
#include "kernels/elementwise/elementwise.h"

namespace vg::apps {

namespace {

using kernels::View;

/// Volumes [C, D, H, W] as channels of one batch entry [1, D, H, W, C].
void interleave(const View<float>& y, const View<const float>& x, const kernels::Exec& exec) {
  for (int64_t c = 0; c < x.n; ++c)
    kernels::copy(y.channels(c, c + 1), kernels::volume_range(x, c, c + 1), exec);
}
void interleave(const View<bfloat16>& y, const View<const float>& x, const kernels::Exec& exec) {
  for (int64_t c = 0; c < x.n; ++c)
    kernels::cast(y.channels(c, c + 1), kernels::volume_range(x, c, c + 1), exec);
}

template <class T>
void add_sample(const data::Sample& sample, std::span<const data::AppliedTransform> transforms,
                const View<T>& images, const View<uint8_t>& labels, const Uploader& uploader,
                Uploader::Batch& upload) {
  const Device device = uploader.device();
  const kernels::Exec exec = Context::get().exec(device);
  const auto [d, h, w] = sample.extent;
  const auto volumes = [&](auto* memory, int64_t count) {
    return kernels::contiguous_view(memory, memory == nullptr ? 0 : count, d, h, w, 1);
  };
  const bool labelled = !sample.labels.empty();
  const data::SubjectViews<const float, const uint8_t> source{
      volumes(upload.add(sample.image), sample.channels), volumes(upload.add(sample.labels), 1)};
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

// What a sample takes in the uploader's memory.
size_t upload_bytes(const data::Sample& sample) {
  const auto rounded = [](size_t bytes) {
    return (bytes + Uploader::part_alignment - 1) / Uploader::part_alignment * Uploader::part_alignment;
  };
  return rounded(sample.image.size() * sizeof(float)) + rounded(sample.labels.size());
}

}  // namespace

Shape batch_shape(const Samples& samples) {
  const data::Sample& first = *samples.front();
  for (const auto& sample : samples) {
    if (sample->extent != first.extent) {
      throw data::DataError(
          sample->id + ": size after preprocessing differs from that of " + first.id +
          " in the same batch; use --batch-size 1 or a preprocessing that makes sizes equal");
    }
  }
  return {static_cast<int64_t>(samples.size()), first.extent[0], first.extent[1], first.extent[2],
          first.channels};
}

BatchTensors empty_batch(const Samples& samples, Device device, DType precision) {
  const Shape s = batch_shape(samples);
  return {Tensor::activation(s[0], s[1], s[2], s[3], s[4], device, precision),
          Tensor::activation(s[0], s[1], s[2], s[3], 1, device, DType::uint8)};
}

void fill_batch(const BatchTensors& batch, const Samples& samples, Uploader& uploader,
                std::span<const std::vector<data::AppliedTransform>> transforms) {
  size_t bytes = 0;
  for (const auto& sample : samples) bytes += upload_bytes(*sample);
  Uploader::Batch upload(uploader, bytes);
  for (size_t i = 0; i < samples.size(); ++i) {
    const auto n = static_cast<int64_t>(i);
    const std::span<const data::AppliedTransform> drawn =
        transforms.empty() ? std::span<const data::AppliedTransform>() : transforms[i];
    with_element_type(batch.images, [&]<class T>() {
      add_sample<T>(*samples[i], drawn, kernels::volume_range(batch.images.view<T>(), n, n + 1),
                    kernels::volume_range(batch.labels.view<uint8_t>(), n, n + 1), uploader, upload);
    });
  }
}

BatchTensors batch_tensors(const Samples& samples, Uploader& uploader,
                           std::span<const std::vector<data::AppliedTransform>> transforms, DType precision) {
  const BatchTensors batch = empty_batch(samples, uploader.device(), precision);
  fill_batch(batch, samples, uploader, transforms);
  return batch;
}

}  // namespace vg::apps
