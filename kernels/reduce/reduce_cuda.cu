// Two launches each: sums of pieces, then the sum of the pieces (kernels/common/reduce.cuh). A thread reads
// 16 bytes at once.
#include "kernels/common/reduce.cuh"
#include "kernels/common/tensor_table.cuh"
#include "kernels/reduce/reduce_impl.h"

namespace vg::kernels::cuda {

namespace {

// All elements of a view in items of `Width` neighbouring ones, and what is left behind them one by one.
template <int Width, class T>
struct Items {
  View<const T> x;  // of which every voxel has a multiple of `Width` channels
  VoxelIndex index;
  Divider of_voxel;  // items of a voxel
  int64_t whole;     // items of `Width`
  const T* rest;
  int64_t rest_count;

  int64_t count() const { return whole + rest_count; }
  // The lanes of item i; zeros beside what is left.
  __device__ __forceinline__ Lanes<Width> operator[](int64_t i) const {
    if (i >= whole) {
      Lanes<Width> lanes = Lanes<Width>::all(0);
      lanes[0] = to_float(rest[i - whole]);
      return lanes;
    }
    const int64_t voxel = of_voxel.split(i);
    return Lanes<Width>::load_constant(index(voxel).in(x) + i * Width);
  }
};

// Calls run(Items) with the widest lanes that x takes.
template <class T, class Run>
void with_items(const View<const T>& x, const Run& run) {
  constexpr int width = lanes_of<T>;
  // A view without gaps is cut anew, whatever its channels are.
  const bool contiguous = x.contiguous();
  const int64_t whole = x.elements() / width;
  const View<const T> cut = contiguous ? contiguous_view(x.data, 1, 1, 1, whole, int64_t{width}) : x;
  const auto call = [&](const View<const T>& view, auto lanes, const T* rest, int64_t rest_count) {
    const int64_t of_voxel = std::max<int64_t>(1, view.c / lanes.value);
    run(Items<lanes.value, T>{view, VoxelIndex(view), Divider(of_voxel), view.voxels() * of_voxel, rest,
                              rest_count});
  };
  if (takes_lanes<width>(cut))
    return call(cut, std::integral_constant<int, width>{}, x.data + whole * width,
                contiguous ? x.elements() - whole * width : 0);
  call(x, std::integral_constant<int, 1>{}, nullptr, 0);
}

// Values of float are added in double one by one; the few neighbouring ones of bfloat16, of 8 bits each, lose
// nothing that matters in float, and conversions to double are slow on most GPUs.
template <int Width, class T>
struct AddItem {
  Items<Width, T> items;
  __device__ void operator()(int64_t i, double (&sums)[1]) const {
    const Lanes<Width> v = items[i];
    std::conditional_t<std::is_same_v<T, float>, double, float> sum = 0;
#pragma unroll
    for (int k = 0; k < Width; ++k) sum += v[k];
    sums[0] += sum;
  }
};
template <int Width, class T>
struct CountNonfinite {
  Items<Width, T> items;
  __device__ void operator()(int64_t i, int64_t (&sums)[1]) const {
    const Lanes<Width> v = items[i];
    int count = 0;
#pragma unroll
    for (int k = 0; k < Width; ++k) count += isfinite(v[k]) ? 0 : 1;
    sums[0] += count;
  }
};

// Likewise: of float in double, of bfloat16 in float, at most items_a_thread of them.
template <int Width, class T>
struct AddChannels {
  View<const T> x;
  VoxelIndex index;
  __device__ void operator()(const Share& share, ChannelSums<1, Width>& sums) const {
    std::conditional_t<std::is_same_v<T, float>, double, float> sum[Width] = {};
    index.template for_each<Width == 1 ? 2 : 4>(share, [&](const auto& place, int64_t) {
      const Lanes<Width> v = Lanes<Width>::load_constant(place.in(x) + share.channel);
#pragma unroll
      for (int k = 0; k < Width; ++k) sum[k] += v[k];
    });
#pragma unroll
    for (int k = 0; k < Width; ++k) sums.v[0][k] = sum[k];
  }
};

template <class T>
struct Store {
  T* out;
  __device__ void operator()(const double (&sums)[1]) const { *out = static_cast<T>(sums[0]); }
};
struct StoreRoot {
  float* out;
  __device__ void operator()(const double (&sums)[1]) const { *out = static_cast<float>(sqrt(sums[0])); }
};
struct AccumulateChannel {
  float* out;
  __device__ void operator()(int64_t channel, const double (&sums)[1]) const {
    out[channel] += static_cast<float>(sums[0]);
  }
};

__global__ void __launch_bounds__(block_threads)
    sum_of_squares_kernel(const __grid_constant__ TensorTable<FlatTensor> table, double* partials) {
  const ChunkRange chunk = chunk_of_block(table);
  const float* const data = table.tensors[chunk.tensor].data;
  double sum = 0;
#pragma unroll 4
  for (int64_t i = chunk.begin + threadIdx.x; i < chunk.end; i += block_threads) {
    const double v = data[i];  // in double, since the square of a large float overflows
    sum += v * v;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void clip_scale_kernel(float* scale, const float* norm, float max_norm) {
  *scale = clip_factor(*norm, max_norm);
}

}  // namespace

template <class T>
void reduce_sum(float* out, View<const T> x, const Exec& exec) {
  with_items(x, [&]<int Width>(const Items<Width, T>& items) {
    grid_sums<1, double>(items.count(), AddItem<Width, T>{items}, Store<float>{out}, exec);
  });
}

template <class T>
void count_nonfinite(int64_t* count, View<const T> x, const Exec& exec) {
  with_items(x, [&]<int Width>(const Items<Width, T>& items) {
    grid_sums<1, int64_t>(items.count(), CountNonfinite<Width, T>{items}, Store<int64_t>{count}, exec);
  });
}

template <class T>
void reduce_channels(float* out, View<const T> x, const Exec& exec) {
  with_lanes(
      [&](auto lanes) {
        channel_sums<1, lanes.value>(1, x.voxels(), x.c, AddChannels<lanes.value, T>{x, VoxelIndex(x)},
                                     AccumulateChannel{out}, exec);
      },
      x);
}

void global_norm(float* out, const FlatTensor* tensors, int64_t tensor_count, const Exec& exec) {
  int64_t chunks = 0;
  for (int64_t i = 0; i < tensor_count; ++i) chunks += chunks_of(tensors[i].count, chunk_elements);
  WorkspaceScope scope(*exec.workspace);
  double* const partials = scope.allocate<double>(static_cast<size_t>(chunks));
  for_each_table(tensors, tensor_count,
                 [&](const TensorTable<FlatTensor>& table, int64_t count, int64_t before) {
                   sum_of_squares_kernel<<<static_cast<unsigned>(count), block_threads, 0, stream_of(exec)>>>(
                       table, partials + before);
                   check_launch();
                 });
  finish_grid_sums_kernel<1><<<1, block_threads, 0, stream_of(exec)>>>(StoreRoot{out}, partials, chunks);
  check_launch();
}

void clip_scale(float* scale, const float* norm, float max_norm, const Exec& exec) {
  clip_scale_kernel<<<1, 1, 0, stream_of(exec)>>>(scale, norm, max_norm);
  check_launch();
}

#define VG_INSTANTIATE(T)                                              \
  template void reduce_sum(float*, View<const T>, const Exec&);        \
  template void count_nonfinite(int64_t*, View<const T>, const Exec&); \
  template void reduce_channels(float*, View<const T>, const Exec&);
VG_INSTANTIATE(float)
VG_INSTANTIATE(bfloat16)
#undef VG_INSTANTIATE

}  // namespace vg::kernels::cuda
