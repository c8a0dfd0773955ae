// A thread takes neighbouring channels, 16 bytes an access, of several voxels (kernels/common/
// channel_shares.cuh). Views without gaps are cut into pieces of 16 bytes whatever their channels are.
#include "kernels/common/channel_shares.cuh"
#include "kernels/common/tensor_table.cuh"
#include "kernels/elementwise/elementwise_impl.h"

namespace vg::kernels::cuda {

namespace {

// y = f(x...) in the share of a thread. Every element is read once before it is written, by the same thread:
// y may be one of x.
template <int Width, class F, class Y, class... X>
__global__ void __launch_bounds__(block_threads)
    map_kernel(F f, ShareGrid grid, VoxelIndex index, View<Y> y, View<X>... x) {
  const Share share = share_of_thread<Width>(grid);
  index.for_each(share, [&](const auto& place, int64_t) {
    f.template apply<Width>(place.in(y) + share.channel, place.in(x) + share.channel...);
  });
}

template <int Width, class F, class Y, class... X>
void launch_map(const Exec& exec, const F& f, const View<Y>& y, const View<X>&... x) {
  if (y.elements() == 0) return;
  const ShareGrid grid = share_grid(1, y.voxels(), y.c, Width, 1, most_voxels_written);
  map_kernel<Width>
      <<<grid.blocks(), block_threads, 0, stream_of(exec)>>>(f, grid, VoxelIndex(y, x...), y, x...);
  check_launch();
}

// Elements [begin, begin + voxels * channels) of a view without gaps, cut anew.
template <class T>
View<T> cut(const View<T>& v, int64_t begin, int64_t voxels, int64_t channels) {
  return contiguous_view(v.data + begin, 1, 1, 1, voxels, channels);
}

template <class F, class Y, class... X>
void map(const Exec& exec, const F& f, const View<Y>& y, const View<X>&... x) {
  constexpr int width = lanes_of<Y, X...>;
  const auto run = [&](const auto& out, const auto&... in) {
    with_lanes([&](auto lanes) { launch_map<lanes.value>(exec, f, out, in...); }, out, in...);
  };
  if (!y.contiguous() || !(x.contiguous() && ...)) return run(y, x...);
  const int64_t pieces = y.elements() / width, rest = y.elements() % width;
  run(cut(y, 0, pieces, width), cut(x, 0, pieces, width)...);
  run(cut(y, pieces * width, rest, 1), cut(x, pieces * width, rest, 1)...);
}

// Functors of single values, applied to lanes in float.
template <class F>
struct InFloat {
  F f;
  template <int Width, class Y, class... X>
  __device__ __forceinline__ void apply(Y* y, const X*... x) const {
    apply_to<Width>(y, Lanes<Width>::load(x)...);
  }

 private:
  template <int Width, class Y, class... In>
  __device__ __forceinline__ void apply_to(Y* y, const In&... in) const {
    Lanes<Width> out;
#pragma unroll
    for (int i = 0; i < Width; ++i) out[i] = f(in[i]...);
    out.store(y);
  }
};
template <class F>
InFloat(F) -> InFloat<F>;

struct Identity {
  __device__ float operator()(float v) const { return v; }
};
struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct AddScaled {
  float factor;
  __device__ float operator()(float a, float b) const { return fmaf(factor, b, a); }
};
struct Scale {
  float factor;
  __device__ float operator()(float v) const { return factor * v; }
};
struct Multiply {
  __device__ float operator()(float a, float b) const { return a * b; }
};

// These move bits.
struct Copy {
  template <int Width, class T>
  __device__ __forceinline__ void apply(T* y, const T* x) const {
    Raw<T, Width>::load(x).store(y);
  }
};
template <class T>
struct Fill {
  T value;
  uint32_t word;  // the value repeated
  explicit Fill(T v) : value(v) {
    T repeated[4 / sizeof(T)];
    for (T& r : repeated) r = v;
    memcpy(&word, repeated, sizeof word);
  }
  template <int Width>
  __device__ __forceinline__ void apply(T* y) const {
    Raw<T, Width> raw;
    if constexpr (Width == 1) {
      raw.value = value;
    } else {
#pragma unroll
      for (int i = 0; i < raw.words; ++i) raw.word[i] = word;
    }
    raw.store(y);
  }
};

// Zeros the voxels of `padded` (a view with its halo) whose coordinates are not in the interior.
template <int Width, class T>
struct ZeroHalo {
  View<T> padded;
  VoxelIndex index;
  int64_t halo;
  Fill<T> zero;
  __device__ void operator()(const Share& share) const {
    for (int64_t i = share.first; i < share.limit; i += share.step) {
      const VoxelPlace p = index.coordinates(i);
      const bool inside = p.d >= halo && p.d < padded.d - halo && p.h >= halo && p.h < padded.h - halo &&
                          p.w >= halo && p.w < padded.w - halo;
      if (!inside) zero.template apply<Width>(p.in(padded) + share.channel);
    }
  }
};

// y = a * b, b with one channel.
template <int Width, class T>
struct MultiplyBroadcast {
  View<T> y;
  View<const T> a, b;
  VoxelIndex index;
  __device__ void operator()(const Share& share) const {
    index.for_each(share, [&](const auto& place, int64_t) {
      const float factor = to_float(*place.in(b));
      Lanes<Width> v = Lanes<Width>::load(place.in(a) + share.channel);
#pragma unroll
      for (int k = 0; k < Width; ++k) v[k] *= factor;
      v.store(place.in(y) + share.channel);
    });
  }
};

// da = dy * b, db = dy * a, with as many channels.
template <int Width, class T>
struct MultiplyBackward {
  View<T> da, db;
  View<const T> dy, a, b;
  VoxelIndex index;
  __device__ void operator()(const Share& share) const {
    index.for_each(share, [&](const auto& place, int64_t) {
      const auto load = [&](const View<const T>& v) {
        return Lanes<Width>::load(place.in(v) + share.channel);
      };
      const Lanes<Width> g = load(dy);
      Lanes<Width> u = load(a), v = load(b);
#pragma unroll
      for (int k = 0; k < Width; ++k) u[k] *= g[k], v[k] *= g[k];
      v.store(place.in(da) + share.channel);
      u.store(place.in(db) + share.channel);
    });
  }
};

// The same where b has one channel: `team` neighbouring lanes, a power of two, take the channels of a voxel
// and add their products in pairs.
template <int Width, class T>
__global__ void __launch_bounds__(block_threads)
    multiply_backward_broadcast_kernel(View<T> da, View<T> db, View<const T> dy, View<const T> a,
                                       View<const T> b, VoxelIndex index, int team) {
  const int64_t voxel = (int64_t{blockIdx.x} * block_threads + threadIdx.x) / team;
  const int lane = static_cast<int>(threadIdx.x) % team;
  const bool inside = voxel < dy.voxels();
  const VoxelPlace place = index(inside ? voxel : 0);
  const float factor = to_float(*place.in(b));
  float sum = 0;
  for (int64_t c = int64_t{lane} * Width; inside && c < dy.c; c += int64_t{team} * Width) {
    Lanes<Width> g = Lanes<Width>::load(place.in(dy) + c);
    const Lanes<Width> u = Lanes<Width>::load(place.in(a) + c);
#pragma unroll
    for (int k = 0; k < Width; ++k) {
      sum = fmaf(g[k], u[k], sum);
      g[k] *= factor;
    }
    g.store(place.in(da) + c);
  }
  for (int distance = team / 2; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
  if (inside && lane == 0) *place.in(db) = from_float<T>(sum);
}

// A block a chunk of 4096 elements of one of the arrays.
__global__ void __launch_bounds__(block_threads)
    zero_kernel(const __grid_constant__ TensorTable<OutputArray> table) {
  const ChunkRange chunk = chunk_of_block(table);
  float* const data = table.tensors[chunk.tensor].data;
  for (int64_t i = chunk.begin + threadIdx.x; i < chunk.end; i += block_threads) data[i] = 0;
}

}  // namespace

template <class T, class Value>
void fill(View<T> y, Value value, const Exec& exec) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    map(exec, Fill<T>(to_bfloat16(value)), y);
  } else {
    map(exec, Fill<T>(value), y);
  }
}

template <class T>
void zero_halo(View<T> y, const Exec& exec) {
  View<T> padded = y;
  padded.data = y.at(0, -y.halo, -y.halo, -y.halo);
  padded.d += 2 * y.halo, padded.h += 2 * y.halo, padded.w += 2 * y.halo;
  with_lanes(
      [&](auto lanes) {
        for_each_share<lanes.value>(
            1, padded.voxels(), padded.c,
            ZeroHalo<lanes.value, T>{padded, VoxelIndex(padded), y.halo, Fill<T>(T{})}, exec);
      },
      padded);
}

template <class T>
void copy(View<T> y, View<const T> x, const Exec& exec) {
  map(exec, Copy{}, y, x);
}

void cast(View<bfloat16> y, View<const float> x, const Exec& exec) {
  map(exec, InFloat{Identity{}}, y, x);
}

void cast(View<float> y, View<const bfloat16> x, const Exec& exec) {
  map(exec, InFloat{Identity{}}, y, x);
}

template <class T>
void add(View<T> y, View<const T> a, View<const T> b, const Exec& exec) {
  map(exec, InFloat{Add{}}, y, a, b);
}

template <class T>
void accumulate(View<T> y, View<const T> x, float factor, const Exec& exec) {
  map(exec, InFloat{AddScaled{factor}}, y, View<const T>(y), x);
}

template <class T>
void scale(View<T> y, View<const T> x, float factor, const Exec& exec) {
  map(exec, InFloat{Scale{factor}}, y, x);
}

template <class T>
void multiply(View<T> y, View<const T> a, View<const T> b, const Exec& exec) {
  if (a.c == b.c) return map(exec, InFloat{Multiply{}}, y, a, b);
  with_lanes(
      [&](auto lanes) {
        for_each_share<lanes.value>(1, y.voxels(), y.c,
                                    MultiplyBroadcast<lanes.value, T>{y, a, b, VoxelIndex(y, a, b)}, exec);
      },
      y, a);
}

template <class T>
void multiply_backward(View<T> da, View<T> db, View<const T> dy, View<const T> a, View<const T> b,
                       const Exec& exec) {
  if (dy.elements() == 0) return;
  if (a.c == b.c) {
    with_lanes(
        [&](auto lanes) {
          for_each_share<lanes.value>(
              1, dy.voxels(), dy.c,
              MultiplyBackward<lanes.value, T>{da, db, dy, a, b, VoxelIndex(da, db, dy, a, b)}, exec);
        },
        da, db, dy, a, b);
    return;
  }
  with_lanes(
      [&](auto lanes) {
        int team = 1;
        while (team < 32 && team * lanes.value < dy.c) team *= 2;
        multiply_backward_broadcast_kernel<lanes.value>
            <<<blocks_for(dy.voxels(), block_threads / team), block_threads, 0, stream_of(exec)>>>(
                da, db, dy, a, b, VoxelIndex(da, db, dy, a, b), team);
        check_launch();
      },
      da, dy, a);
}

void zero_arrays(const OutputArray* arrays, int64_t count, const Exec& exec) {
  for_each_table(arrays, count, [&](const TensorTable<OutputArray>& table, int64_t chunks, int64_t) {
    zero_kernel<<<static_cast<unsigned>(chunks), block_threads, 0, stream_of(exec)>>>(table);
    check_launch();
  });
}

template void fill(View<float>, float, const Exec&);
template void fill(View<bfloat16>, float, const Exec&);
template void fill(View<uint8_t>, uint8_t, const Exec&);
template void copy(View<uint8_t>, View<const uint8_t>, const Exec&);

#define VG_INSTANTIATE(T)                                                     \
  template void zero_halo(View<T>, const Exec&);                              \
  template void copy(View<T>, View<const T>, const Exec&);                    \
  template void add(View<T>, View<const T>, View<const T>, const Exec&);      \
  template void accumulate(View<T>, View<const T>, float, const Exec&);       \
  template void scale(View<T>, View<const T>, float, const Exec&);            \
  template void multiply(View<T>, View<const T>, View<const T>, const Exec&); \
  template void multiply_backward(View<T>, View<T>, View<const T>, View<const T>, View<const T>, const Exec&);
VG_INSTANTIATE(float)
VG_INSTANTIATE(bfloat16)
#undef VG_INSTANTIATE

}  // namespace vg::kernels::cuda
