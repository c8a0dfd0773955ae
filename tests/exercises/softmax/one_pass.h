// Exercise: maximum and sum of exponentials in one pass. Page: kernels/softmax/README.md.
#pragma once

#include <cstdint>

#include "exercises/support/not_solved.h"

namespace exercise::softmax {

/// log(sum over c of e^x_c) of `count` >= 1 logits, without overflow for logits of any size. x.load(c) reads
/// a logit, and may be called once for each: think of logits that come from memory and do not fit into
/// registers.
///
/// The maximum is not known until the end. But a sum of e^(x - m) can be turned into one of e^(x - m') at any
/// time.
template <class Logits>
float log_sum_exp(Logits& x, int64_t count) {
  not_solved();
}

}  // namespace exercise::softmax
