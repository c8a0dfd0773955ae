// Less memory for more time: intermediate results that are computed again in backward instead of being kept
// (Chen et al. 2016, arxiv.org/abs/1604.06174; PyTorch's checkpoint).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/autograd.h"

namespace vg {

/// What must be the same when a function is computed again, the offsets of its random draws, and what need
/// not be computed again.
class Recomputation {
 public:
  /// `outer`: the function within which this one is called, if that is computed again; it must outlive this.
  explicit Recomputation(Recomputation* outer = nullptr) : outer_(outer) {}
  /// False the first time that the function is computed, the outer one included.
  [[nodiscard]] bool again() const { return again_ || outer_ != nullptr; }
  /// The offset of a draw: that of the first time, or draws++. Throws std::logic_error if the function draws
  /// more often than the first time.
  uint64_t draw(uint64_t& draws);
  /// What `compute` gives, the first time; after that the same tensors.
  std::vector<Tensor> once(const std::function<std::vector<Tensor>()>& compute);
  /// True if the function is called for what it records: nobody reads the values of its result.
  [[nodiscard]] bool result_unread() const { return again_; }
  /// From here on draws are repeated.
  void start_again();

 private:
  Recomputation* outer_;
  bool again_ = false;
  std::vector<uint64_t> draws_;
  std::vector<std::vector<Tensor>> computed_;
  size_t next_ = 0, next_computed_ = 0;
};

/// What `compute` gives: small tensors that cost a pass over large ones. If recompute() calls a function
/// again, those of the first time.
std::vector<Tensor> computed_once(const std::function<std::vector<Tensor>()>& compute);

using TensorFunction = std::function<Tensor(const std::vector<Tensor>& inputs)>;

/// function(inputs), of which nothing is kept but the inputs: backward calls the function again, records what
/// it does, and runs that tape. The same bits as function(inputs) by itself, in result and gradients; running
/// statistics and counters are updated the first time alone, dropout draws the same mask. What does not fit:
/// a function whose result depends on anything that changes before backward. Within another recompute() it is
/// a plain call the first time, and keeps less when that one is computed again. The function must be usable
/// until backward has run.
///
/// `parameters`: the leaves that the function uses beside its inputs; nothing is recorded unless one of them
/// or of the inputs requires a gradient.
Tensor recompute(const TensorFunction& function, const std::vector<Tensor>& inputs,
                 const std::vector<Tensor>& parameters);

}  // namespace vg
