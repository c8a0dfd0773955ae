// Samples as the tensors of a training or prediction step.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "data/augmentation.h"
#include "data/brats_dataset.h"
#include "engine/tensor.h"

namespace vg::apps {

/// Images as [N, D, H, W, C] and labels as uint8 [N, D, H, W, 1], on the device.
struct BatchTensors {
  Tensor images, labels;
};

/// The samples go to the device as they are and are transformed there: `transforms` holds what was drawn for
/// each (empty: nothing for any). Labels are uninitialised for samples without. Throws data::DataError if
/// samples of one batch differ in size, naming them.
BatchTensors batch_tensors(const std::vector<std::shared_ptr<const data::Sample>>& samples, Device device,
                           std::span<const std::vector<data::AppliedTransform>> transforms = {});

}  // namespace vg::apps
