// Drawn transforms, applied to the volumes of a subject.
#include <algorithm>
#include <stdexcept>

#include "data/augmentation.h"
#include "data/byte_source.h"
#include "data/network_order.h"
#include "kernels/augment/volumes.h"
#include "kernels/elementwise/elementwise.h"

namespace vg::data {
namespace {

using kernels::Exec;
using kernels::View;

/// Transforms that touch different images can be done in one pass over the subject.
using Stage = std::vector<const AppliedTransform*>;

std::vector<Stage> stages_of(std::span<const AppliedTransform> transforms) {
  std::vector<Stage> stages;
  for (const AppliedTransform& transform : transforms) {
    const auto clashes = [&](const AppliedTransform* other) {
      return !other->image || !transform.image || *other->image == *transform.image;
    };
    if (stages.empty() || std::any_of(stages.back().begin(), stages.back().end(), clashes))
      stages.emplace_back();
    stages.back().push_back(&transform);
  }
  return stages;
}

/// step(i, to, from) for i = 0..count-1 in a row, from x to y by way of scratch memory; copies if there is
/// none.
template <class T, class Step>
void run_steps(size_t count, const View<T>& y, const View<const T>& x, const Exec& exec, const Step& step) {
  if (count == 0) return kernels::copy(y, x, exec);
  kernels::WorkspaceScope scratch(*exec.workspace);
  View<T> other;
  if (count > 1) {
    T* const memory = scratch.allocate<T>(static_cast<size_t>(y.elements()));
    other = kernels::contiguous_view(memory, y.n, y.d, y.h, y.w, y.c);
  }
  View<const T> from = x;
  for (size_t i = 0; i < count; ++i) {
    const View<T> to = (count - i) % 2 == 1 ? y : other;  // the last step writes y
    step(i, to, from);
    from = to;
  }
}

template <class Action>
void with_name(const AppliedTransform& transform, const Action& action) {
  try {
    action();
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(join_text("transform ", transform.kind->name, ": ", error.what()));
  }
}

void apply_to_images(std::span<const AppliedTransform> transforms, const View<float>& y,
                     const View<const float>& x, const Geometry& geometry, const Exec& exec) {
  const std::vector<Stage> stages = stages_of(transforms);
  run_steps(stages.size(), y, x, exec, [&](size_t i, const View<float>& to, const View<const float>& from) {
    std::vector<bool> touched(static_cast<size_t>(y.n));
    for (const AppliedTransform* transform : stages[i]) {
      const int64_t begin = transform->image.value_or(0), end = transform->image ? begin + 1 : y.n;
      if (begin < 0 || end > y.n)
        throw std::invalid_argument(
            join_text("transform ", transform->text(), ": for image ", begin, " of ", y.n));
      with_name(*transform, [&] {
        transform->kind->images(kernels::volume_range(to, begin, end),
                                kernels::volume_range(from, begin, end), transform->parameters, geometry,
                                exec);
      });
      std::fill(touched.begin() + begin, touched.begin() + end, true);
    }
    for (int64_t image = 0; image < y.n; ++image) {
      if (!touched[static_cast<size_t>(image)])
        kernels::copy(kernels::volume_range(to, image, image + 1),
                      kernels::volume_range(from, image, image + 1), exec);
    }
  });
}

void apply_to_labels(std::span<const AppliedTransform> transforms, const View<uint8_t>& y,
                     const View<const uint8_t>& x, const Geometry& geometry, const Exec& exec) {
  std::vector<const AppliedTransform*> moving;
  for (const AppliedTransform& transform : transforms) {
    if (transform.kind->labels != nullptr) moving.push_back(&transform);
  }
  run_steps(moving.size(), y, x, exec,
            [&](size_t i, const View<uint8_t>& to, const View<const uint8_t>& from) {
              with_name(*moving[i],
                        [&] { moving[i]->kind->labels(to, from, moving[i]->parameters, geometry, exec); });
            });
}

template <class T>
View<T> packed_view(std::vector<T>& memory, const Geometry& geometry) {
  const auto [d, h, w] = geometry.extent;
  return kernels::contiguous_view(memory.data(), 1, d, h, w, 1);
}

}  // namespace

void apply_transforms(std::span<const AppliedTransform> transforms, const SubjectViews<float, uint8_t>& y,
                      const SubjectViews<const float, const uint8_t>& x, const Geometry& geometry,
                      const Exec& exec) {
  if (x.images.data != nullptr) apply_to_images(transforms, y.images, x.images, geometry, exec);
  if (x.labels.data != nullptr) apply_to_labels(transforms, y.labels, x.labels, geometry, exec);
}

Image apply_transforms(std::span<const AppliedTransform> transforms, const Image& image) {
  kernels::Workspace workspace(kernels::DeviceKind::cpu);
  std::vector<float> before(image.voxels.size()), after(image.voxels.size());
  pack_image(image, before);
  apply_to_images(transforms, packed_view(after, image.geometry), packed_view(before, image.geometry),
                  image.geometry, {.device = kernels::DeviceKind::cpu, .workspace = &workspace});
  return unpack_channel(after, image.geometry, 1, 0);
}

LabelMap apply_transforms(std::span<const AppliedTransform> transforms, const LabelMap& labels) {
  kernels::Workspace workspace(kernels::DeviceKind::cpu);
  std::vector<uint8_t> before(labels.voxels.size()), after(labels.voxels.size());
  pack_labels(labels, before);
  apply_to_labels(transforms, packed_view(after, labels.geometry), packed_view(before, labels.geometry),
                  labels.geometry, {.device = kernels::DeviceKind::cpu, .workspace = &workspace});
  return unpack_labels(after, labels.geometry);
}

}  // namespace vg::data
