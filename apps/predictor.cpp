#include "apps/predictor.h"

#include <stdexcept>

#include "apps/batch_tensors.h"
#include "data/network_order.h"
#include "engine/memory_plan.h"
#include "layers/softmax.h"

namespace vg::apps {

namespace {

// `products`: of the convolutions on the CPU.
std::unique_ptr<Network> load_network(const ModelFile& model, Device device, Rng& rng,
                                      DType products = DType::float32) {
  auto network = make_network(model.description.architecture, device, rng);
  try {
    network->load_state(model.weights);
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error("weights: " + std::string(error.what()) +
                             "; is this a checkpoint of such a network?");
  }
  network->train(false);
  network->freeze(products);
  return network;
}

const data::LabelSchema& schema_of(const ModelDescription& description) {
  const data::LabelSchema& schema = data::find_label_schema(description.label_schema);
  if (schema.classes() != description.architecture.out_channels) {
    throw std::runtime_error("label schema " + schema.name + " has " + std::to_string(schema.classes()) +
                             " classes, the network gives " +
                             std::to_string(description.architecture.out_channels));
  }
  return schema;
}

// The likeliest class of each voxel; of equals the first.
data::LabelMap likeliest(const std::vector<data::Image>& probabilities) {
  data::LabelMap classes{probabilities.front().geometry, {}};
  classes.voxels.resize(probabilities.front().voxels.size());
  for (size_t i = 0; i < classes.voxels.size(); ++i) {
    size_t best = 0;
    for (size_t c = 1; c < probabilities.size(); ++c) {
      if (probabilities[c].voxels[i] > probabilities[best].voxels[i]) best = c;
    }
    classes.voxels[i] = static_cast<uint8_t>(best);
  }
  return classes;
}

}  // namespace

Predictor::Predictor(const ModelFile& model, Device device, DType precision)
    : description_(model.description),
      schema_(schema_of(model.description)),
      preprocessing_(data::Preprocessing::parse(model.description.preprocessing)),
      precision_(device == Device::cpu ? DType::float32 : precision),
      uploader_(device),
      network_(load_network(model, device, rng_, precision)) {
  preprocessing_ = preprocessing_.padded_to_multiple(network_->extent_multiple());
  if (static_cast<int64_t>(description_.channels.size()) != description_.architecture.in_channels) {
    throw std::runtime_error("the network takes " + std::to_string(description_.architecture.in_channels) +
                             " channels, but " + std::to_string(description_.channels.size()) +
                             " are named; name them with --channels");
  }
}

void Predictor::set_tile(const std::optional<Extent>& tile) {
  const int64_t multiple = network_->extent_multiple();
  for (const int64_t extent : tile.value_or(Extent{0, 0, 0})) {
    if (extent % multiple != 0) {
      throw std::runtime_error("--tile: extent " + std::to_string(extent) + " is not a multiple of " +
                               std::to_string(multiple) + ", as this network needs");
    }
  }
  tile_ = tile;
}

Tensor Predictor::probabilities(const Tensor& images) const {
  return softmax((*network_)(images).to(DType::float32));
}

namespace {

std::string times(const Extent& extent) {
  return std::to_string(extent[0]) + "x" + std::to_string(extent[1]) + "x" + std::to_string(extent[2]);
}

}  // namespace

Extent Predictor::tile_for(const data::Sample& sample, const data::Warn& warn) const {
  if (tile_) return *tile_;
  const Device device = uploader_.device();
  size_t available = available_memory(device);
  if (available == 0) return sample.extent;  // the system does not say
  // What comes after the network takes as much for a volume in tiles: probabilities, as images and in their
  // first place.
  const auto results = static_cast<size_t>(3 * sample.voxels() * schema_.classes()) * sizeof(float);
  if (device == Device::cpu) available -= std::min(available, results);
  size_t needed = 0;
  const auto fits = [&](const Extent& e) {
    const MemoryPlan plan(device, [&] {
      (void)probabilities(Tensor::activation(1, e[0], e[1], e[2], sample.channels, device, precision_));
    });
    needed = plan.peak_bytes_reserved() + plan.peak_bytes_reserved() / 10;  // and scratch of kernels
    return needed <= available;
  };
  const std::optional<Extent> tile = largest_tile(sample.extent, network_->extent_multiple(), fits);
  if (!tile) {
    throw data::DataError(sample.id + ": " + times(sample.extent) + " voxels do not fit into memory: " +
                          std::to_string(needed >> 20) + " MiB needed for the smallest tile, " +
                          std::to_string(available >> 20) + " MiB available beside the results");
  }
  if (*tile != sample.extent) {
    warn(sample.id + ": " + times(sample.extent) +
         " voxels do not fit into memory at once; predicted in tiles of " + times(*tile));
  }
  return *tile;
}

Prediction Predictor::predict(const data::SubjectFiles& subject, const data::Warn& warn) {
  const NoGradGuard no_grad;
  const auto sample = std::make_shared<const data::Sample>(data::load_subject(
      subject, description_.channels, preprocessing_, schema_, data::Purpose::prediction, warn));
  const Extent tile = tile_for(*sample, warn);
  const bool whole =
      tile[0] >= sample->extent[0] && tile[1] >= sample->extent[1] && tile[2] >= sample->extent[2];
  const std::vector<float> values =
      whole
          ? probabilities(batch_tensors({sample}, uploader_, {}, precision_).images).values()
          : predict_in_tiles(sample->image, sample->channels, sample->extent, tile, [&](const Tensor& part) {
              return probabilities(part.to(uploader_.device()).to(precision_));
            });
  Prediction prediction;
  for (int64_t c = 0; c < schema_.classes(); ++c) {
    const data::Image channel = data::unpack_channel(values, sample->geometry, schema_.classes(), c);
    prediction.probabilities.push_back(
        preprocessing_.invert(channel, sample->original, c == 0 ? 1.0f : 0.0f));
  }
  prediction.labels = data::classes_to_labels(likeliest(prediction.probabilities), schema_);
  return prediction;
}

Tensor raw_logits(const ModelFile& weights, const Tensor& input, Device device) {
  const NoGradGuard no_grad;
  const Shape& s = input.shape();
  if (s.size() != 5 || input.dtype() != DType::float32) {
    throw std::runtime_error(std::string("tensor 'input' is ") + dtype_name(input.dtype()) + " of shape " +
                             to_string(s) + ", expected float32 of shape [N, C, D, H, W]");
  }
  Rng rng(0);
  const auto network = load_network(weights, device, rng);
  const Tensor logits =
      (*network)(Tensor::activation_from_ncdhw(input.values(), s[0], s[1], s[2], s[3], s[4], device));
  return Tensor::from_values({s[0], logits.size(4), s[2], s[3], s[4]}, logits.values_ncdhw());
}

}  // namespace vg::apps
