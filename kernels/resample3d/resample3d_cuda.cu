// A thread takes 16 bytes of neighbouring channels of several voxels of the result
// (kernels/common/channel_shares.cuh). The tables of the axes are made by a kernel before, so that no thread
// divides 64-bit integers.
#include "kernels/common/channel_shares.cuh"
#include "kernels/resample3d/resample3d_impl.h"

namespace vg::kernels::cuda {

namespace {

__global__ void fill_tables_kernel(ResampleTables tables) {
  const int64_t i = thread_index();
  if (i < tables.entries()) tables.fill(i);
}

void fill_tables(const ResampleTables& tables, const Exec& exec) {
  fill_tables_kernel<<<blocks_for(tables.entries()), block_threads, 0, stream_of(exec)>>>(tables);
  check_launch();
}

template <int Width, class T>
struct NearestShare {
  View<T> y;
  View<const T> x;
  VoxelIndex of_y;
  ResampleTables tables;
  __device__ void operator()(const Share& share) const {
    for (int64_t i = share.first; i < share.limit; i += share.step) {
      const VoxelPlace at = of_y.coordinates(i);
      const VoxelPlace from{at.n, tables.sources_of(0)[at.d].lower, tables.sources_of(1)[at.h].lower,
                            tables.sources_of(2)[at.w].lower};
      Raw<T, Width>::load_constant(from.in(x) + share.channel).store(at.in(y) + share.channel);
    }
  }
};

template <int Width, class T>
struct TrilinearShare {
  View<T> y;
  View<const T> x;
  VoxelIndex of_y;
  ResampleTables tables;
  __device__ void operator()(const Share& share) const {
    for (int64_t i = share.first; i < share.limit; i += share.step) {
      const VoxelPlace at = of_y.coordinates(i);
      const AxisSource d = tables.sources_of(0)[at.d], h = tables.sources_of(1)[at.h],
                       w = tables.sources_of(2)[at.w];
      const auto along_w = [&](int64_t id, int64_t ih) {
        const T* const row = x.at(at.n, id, ih) + share.channel;
        return mix(Lanes<Width>::load_constant(row + w.lower * x.stride_w),
                   Lanes<Width>::load_constant(row + w.upper * x.stride_w), w.upper_weight);
      };
      const auto along_h = [&](int64_t id) {
        return mix(along_w(id, h.lower), along_w(id, h.upper), h.upper_weight);
      };
      mix(along_h(d.lower), along_h(d.upper), d.upper_weight).store(at.in(y) + share.channel);
    }
  }

 private:
  static __device__ __forceinline__ Lanes<Width> mix(const Lanes<Width>& lower, const Lanes<Width>& upper,
                                                     float upper_weight) {
    const float lower_weight = 1 - upper_weight;
    Lanes<Width> mixed;
#pragma unroll
    for (int k = 0; k < Width; ++k) mixed[k] = lower_weight * lower[k] + upper_weight * upper[k];
    return mixed;
  }
};

template <int Width, class T>
struct BackwardShare {
  View<T> dx;
  View<const T> dy;
  VoxelIndex of_dx;
  ResampleTables tables;
  __device__ void operator()(const Share& share) const {
    const AxisSource *const of_d = tables.sources_of(0), *const of_h = tables.sources_of(1),
                            *const of_w = tables.sources_of(2);
    for (int64_t i = share.first; i < share.limit; i += share.step) {
      const VoxelPlace at = of_dx.coordinates(i);
      const AxisOutputs d = tables.outputs_of(0)[at.d], h = tables.outputs_of(1)[at.h],
                        w = tables.outputs_of(2)[at.w];
      Lanes<Width> sum = Lanes<Width>::all(0);
#pragma unroll 1
      for (int od = d.begin; od < d.end; ++od) {
#pragma unroll 1
        for (int oh = h.begin; oh < h.end; ++oh) {
          const T* const row = dy.at(at.n, od, oh) + share.channel;
          Lanes<Width> along_w = Lanes<Width>::all(0);
#pragma unroll 2
          for (int ow = w.begin; ow < w.end; ++ow)
            add_scaled(along_w, of_w[ow].weight(at.w), Lanes<Width>::load_constant(row + ow * dy.stride_w));
          add_scaled(sum, of_d[od].weight(at.d) * of_h[oh].weight(at.h), along_w);
        }
      }
      sum.store(at.in(dx) + share.channel);
    }
  }

 private:
  static __device__ __forceinline__ void add_scaled(Lanes<Width>& sum, float factor,
                                                    const Lanes<Width>& value) {
#pragma unroll
    for (int k = 0; k < Width; ++k) sum[k] += factor * value[k];
  }
};

// Runs ShareOf<lanes, T>{to, from, ...} over the voxels of `to`.
template <template <int, class> class ShareOf, class T>
void gather(const View<T>& to, const View<const T>& from, const ResampleTables& tables, const Exec& exec) {
  fill_tables(tables, exec);
  with_lanes(
      [&](auto lanes) {
        for_each_share<lanes.value, 3>(1, to.voxels(), to.c,
                                       ShareOf<lanes.value, T>{to, from, VoxelIndex(to), tables}, exec);
      },
      to, from);
}

}  // namespace

template <class T>
void resample3d_forward(View<T> y, View<const T> x, const Resample3dParams& params, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const ResampleTables tables = ResampleTables::make(x, y, params, scope, false);
  if (params.mode == ResampleMode::nearest) return gather<NearestShare>(y, x, tables, exec);
  gather<TrilinearShare>(y, x, tables, exec);
}

template <class T>
void resample3d_backward(View<T> dx, View<const T> dy, const Resample3dParams& params, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  gather<BackwardShare>(dx, dy, ResampleTables::make(dx, dy, params, scope, true), exec);
}

#define VG_INSTANTIATE(T)                                                                         \
  template void resample3d_forward(View<T>, View<const T>, const Resample3dParams&, const Exec&); \
  template void resample3d_backward(View<T>, View<const T>, const Resample3dParams&, const Exec&);
VG_INSTANTIATE(float)
VG_INSTANTIATE(bfloat16)
#undef VG_INSTANTIATE

}  // namespace vg::kernels::cuda
