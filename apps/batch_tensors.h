// Samples as the tensors of a training or prediction step.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "data/augmentation.h"
#include "data/brats_dataset.h"
#include "engine/tensor.h"
#include "engine/transfer.h"

namespace vg::apps {

/// Images as float32 or bfloat16 [N, D, H, W, C] and labels as uint8 [N, D, H, W, 1], on the device.
struct BatchTensors {
  Tensor images, labels;
};

using Samples = std::vector<std::shared_ptr<const data::Sample>>;

/// [N, D, H, W, C] of the images of a batch. Throws data::DataError if samples differ in size, naming them.
Shape batch_shape(const Samples& samples);

/// Uninitialised memory for a batch.
BatchTensors empty_batch(const Samples& samples, Device device, DType precision = DType::float32);

/// Fills `batch`, which has the shape batch_shape(samples). The samples go to the device as they are and
/// are transformed there, in float: `transforms` holds what was drawn for each (empty: nothing for any).
/// Labels are left as they are for samples without.
void fill_batch(const BatchTensors& batch, const Samples& samples, Uploader& uploader,
                std::span<const std::vector<data::AppliedTransform>> transforms = {});

/// Both in one.
BatchTensors batch_tensors(const Samples& samples, Uploader& uploader,
                           std::span<const std::vector<data::AppliedTransform>> transforms = {},
                           DType precision = DType::float32);

}  // namespace vg::apps
