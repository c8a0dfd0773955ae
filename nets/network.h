// What every network has in common, and how one is made from its architecture.
#pragma once

#include <memory>

#include "engine/rng.h"
#include "nets/architecture.h"

namespace vg {

class Network : public Module {
 public:
  /// Logits [N, D, H, W, out_channels] of x [N, D, H, W, in_channels]. Throws std::invalid_argument if the
  /// channels differ or an extent is not a multiple of extent_multiple().
  Tensor operator()(const Tensor& x) const;

  [[nodiscard]] const Architecture& architecture() const { return architecture_; }
  /// True keeps only the blocks' inputs for backward and computes what is in them again there: half the
  /// memory for about a fifth more time, the same bits (see engine/recompute.h).
  virtual void set_recompute(bool recompute) = 0;
  /// Each level halves D, H and W: they must be multiples of this.
  [[nodiscard]] int64_t extent_multiple() const;
  /// Number of trainable values.
  [[nodiscard]] int64_t parameter_count() const;

 protected:
  /// Throws std::invalid_argument if check() refuses the architecture.
  explicit Network(Architecture architecture);
  [[nodiscard]] virtual Tensor forward(const Tensor& x) const = 0;

 private:
  Architecture architecture_;
};

/// The network of an architecture with PyTorch's initial weights drawn from `rng`, on the device. Dropout
/// draws from `rng` too: it must outlive the network.
std::unique_ptr<Network> make_network(const Architecture& architecture, Device device, Rng& rng);

}  // namespace vg
