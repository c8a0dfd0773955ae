// Division by a number that is the same for a whole launch, as a multiplication: a 64-bit division costs a
// GPU some hundred instructions, this one a dozen.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/common/view.h"

namespace vg::kernels {

/// n / divisor and n % divisor, exact for 0 <= n < 2^62. With 2^s <= divisor < 2^(s+1) and m = ceil(2^(63+s)
/// / divisor), n m / 2^(63+s) exceeds n / divisor by less than n / 2^(63+s) <= 1 / divisor, too little to
/// reach the next integer (Granlund and Montgomery, "Division by Invariant Integers using Multiplication",
/// 1994).
class Divider {
 public:
  Divider() = default;
  /// `divisor` in [0, 2^62); 0, the extent of an empty view, counts as 1.
  explicit Divider(int64_t divisor)
      : divisor_(divisor > 0 ? divisor : 1),
        shift_(std::bit_width(static_cast<uint64_t>(divisor_)) - 1),
        multiplier_(static_cast<uint64_t>(((Wide{1} << (63 + shift_)) + static_cast<Wide>(divisor_ - 1)) /
                                          static_cast<Wide>(divisor_))) {}

  VG_INLINE int64_t quotient(int64_t n) const {
    return static_cast<int64_t>(
        static_cast<uint64_t>(Wide{static_cast<uint64_t>(n)} * 2 * multiplier_ >> 64) >> shift_);
  }
  /// Leaves the remainder in n and returns the quotient.
  VG_INLINE int64_t split(int64_t& n) const {
    const int64_t q = quotient(n);
    n -= q * divisor_;
    return q;
  }

 private:
  __extension__ typedef unsigned __int128 Wide;
  int64_t divisor_ = 1;
  int shift_ = 0;
  uint64_t multiplier_ = uint64_t{1} << 63;
};

}  // namespace vg::kernels
