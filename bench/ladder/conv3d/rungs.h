// The versions of the convolution: see bench/ladder/rung.h for what each takes and computes.
#pragma once

#include "bench/ladder/rung.h"
#include "kernels/common/dispatch.h"

namespace vg::ladder {

#define VG_DECLARE_RUNG(function, T) \
  void function(View<T> y, View<const T> x, const float* weight, const Exec& exec);

VG_DECLARE_CPU_IMPLEMENTATIONS(VG_DECLARE_RUNG(naive, float) VG_DECLARE_RUNG(channels_last, float)
                                   VG_DECLARE_RUNG(register_tile, float)
                                       VG_DECLARE_RUNG(sliding_window, float)
                                           VG_DECLARE_RUNG(winograd, float))

namespace cuda {
VG_DECLARE_RUNG(naive, float)
VG_DECLARE_RUNG(coalesced, float)
VG_DECLARE_RUNG(shared_tile, float)
VG_DECLARE_RUNG(register_tile, float)
VG_DECLARE_RUNG(halo_tile, float)
VG_DECLARE_RUNG(pipelined, float)
VG_DECLARE_RUNG(tensor_cores, bfloat16)
VG_DECLARE_RUNG(row_reuse, bfloat16)
}  // namespace cuda

#undef VG_DECLARE_RUNG

}  // namespace vg::ladder
