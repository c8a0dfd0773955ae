// Dropout: function and module.
#pragma once

#include "engine/rng.h"
#include "layers/module.h"

namespace vg {

/// Zeroes elements with the given probability in [0, 1) and scales the others by 1 / (1 - probability).
/// Takes one draw of `rng`; backward draws the same mask again. In place if x was moved in.
Tensor dropout(Tensor x, float probability, Rng& rng);

/// The identity in inference and for probability 0. `rng` must outlive the module.
class Dropout : public Module {
 public:
  /// Throws std::invalid_argument unless 0 <= probability < 1.
  Dropout(float probability, Rng& rng);
  Tensor operator()(Tensor x) const;

 private:
  float probability_;
  Rng& rng_;
};

}  // namespace vg
