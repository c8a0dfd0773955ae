#include "nets/network.h"

#include "kernels/common/check.h"
#include "nets/attention_unet.h"
#include "nets/initialisers.h"
#include "nets/unet.h"

namespace vg {

using kernels::require;

Network::Network(Architecture architecture) : architecture_(std::move(architecture)) {
  check(architecture_);
}

int64_t Network::extent_multiple() const {
  int64_t multiple = 1;
  for (const int64_t stride : architecture_.strides) multiple *= stride;
  return multiple;
}

int64_t Network::parameter_count() const {
  int64_t count = 0;
  for (const auto& [name, tensor] : named_parameters()) count += tensor.elements();
  return count;
}

Tensor Network::operator()(const Tensor& x) const {
  const std::string& name = architecture_.name;
  require(x.is_activation(), name, ": expected an activation [N, D, H, W, C], got shape ",
          to_string(x.shape()));
  require(x.size(4) == architecture_.in_channels, name, ": expected ", architecture_.in_channels,
          " channels, got shape ", to_string(x.shape()));
  const int64_t multiple = extent_multiple();
  for (const int axis : {1, 2, 3}) {
    require(x.size(axis) > 0 && x.size(axis) % multiple == 0, name, ": D, H and W must be multiples of ",
            multiple, ", got shape ", to_string(x.shape()));
  }
  return forward(x);
}

std::unique_ptr<Network> make_network(const Architecture& architecture, Device device, Rng& rng) {
  check(architecture);
  std::unique_ptr<Network> network;
  if (architecture.name == "unet") {
    network = std::make_unique<UNet>(architecture, device, rng);
  } else {
    network = std::make_unique<AttentionUnet>(architecture, device, rng);
  }
  initialise(*network, rng);
  return network;
}

}  // namespace vg
