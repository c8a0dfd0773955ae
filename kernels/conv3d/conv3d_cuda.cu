// Direct convolution in fp32, also on bfloat16 activations. Forward and backward input are one gather: a
// thread computes 4 neighbouring outputs along w for 4 output channels, so that an input value in a register
// serves 4 channels and up to 3 taps, and a weight serves 4 outputs. Output channels are the fastest index
// over threads: the lanes of a warp share input values (broadcasts) and read neighbouring weights.
#include "kernels/common/bfloat16.h"
#include "kernels/common/launch.cuh"
#include "kernels/conv3d/conv3d_cuda.h"
#include "kernels/conv3d/conv3d_impl.h"

namespace vg::kernels::cuda {

namespace {

// The tile of a thread. With kernel 3 and stride 1 a pair of taps (kd, kh) and an input channel cost 6 input
// and 3 weight loads for 48 FMAs; 16 accumulators leave registers for many warps.
constexpr int tile_w = 4;
constexpr int tile_c = 4;

struct alignas(16) Float4 {
  float v[tile_c];
};

// Which inputs an output position takes, along one axis: output i takes position input(i, k) for tap k, and
// along w, where a thread holds `columns` inputs from first_column() on in registers, output j of its tile
// takes column(j, k). Negative: none.
template <int K, int S, int P>
struct ForwardTaps {
  static constexpr int kernel_size = K;
  static constexpr int columns = (tile_w - 1) * S + K;
  __device__ static constexpr int column(int j, int k) { return j * S + k; }
  __device__ static int64_t first_column(int64_t w) { return w * S - P; }
  __device__ static int64_t input(int64_t i, int k) { return i * S - P + k; }
};

// The transpose: input i of the convolution gets from output o = (i + P - k) / S where that divides.
template <int K, int S, int P>
struct BackwardTaps {
  static_assert(tile_w % S == 0);
  static constexpr int kernel_size = K;
  // (first + P - (K - 1)) / S for the tile's first position, rounded down; P - (K - 1) >= -2.
  static constexpr int first = (P - (K - 1) + 2 * S) / S - 2;
  static constexpr int columns = (tile_w - 1 + P) / S - first + 1;
  __device__ static constexpr int column(int j, int k) {
    return (j + P - k + 2 * S) % S != 0 ? -1 : (j + P - k + 2 * S) / S - 2 - first;
  }
  __device__ static int64_t first_column(int64_t w) { return w / S + first; }
  __device__ static int64_t input(int64_t i, int k) {
    const int64_t t = i + P - k;
    return t < 0 || t % S != 0 ? -1 : t / S;
  }
};

// packed[kd][kh][r][kw][q] = the weight from reduced channel r to output channel q, which is padded with
// zeros to whole tiles. For activations of type T the weights are rounded to T.
struct PackedWeights {
  Float4* data;
  int64_t outputs, reduced;  ///< channels
  int64_t groups;            ///< tiles of output channels
};

template <class T>
__global__ void pack_weights_kernel(PackedWeights packed, const float* weight, int kernel_size,
                                    int64_t output_stride, int64_t reduced_stride) {
  const int64_t i = thread_index();
  if (i >= kernel_size * kernel_size * packed.reduced * kernel_size * packed.groups) return;
  const int64_t group = i % packed.groups, kw = i / packed.groups % kernel_size,
                r = i / packed.groups / kernel_size % packed.reduced,
                kdh = i / packed.groups / kernel_size / packed.reduced;
  Float4 values{};
  for (int q = 0; q < tile_c; ++q) {
    const int64_t channel = group * tile_c + q;
    if (channel < packed.outputs)
      values.v[q] = to_float(
          from_float<T>(weight[channel * output_stride + r * reduced_stride + kdh * kernel_size + kw]));
  }
  packed.data[i] = values;
}

template <class Taps, class T>
__global__ void __launch_bounds__(block_threads, 1)
    gather_kernel(View<T> y, View<const T> x, PackedWeights packed, const float* bias) {
  constexpr int k = Taps::kernel_size;
  const int64_t tiles = (y.w + tile_w - 1) / tile_w, index = thread_index();
  if (index >= y.rows() * tiles * packed.groups) return;
  const int64_t group = index % packed.groups, w0 = index / packed.groups % tiles * tile_w,
                row = index / packed.groups / tiles;
  const int64_t n = row / (y.d * y.h), d = row / y.h % y.d, h = row % y.h;
  const int channels = static_cast<int>(min(int64_t{tile_c}, y.c - group * tile_c));

  Float4 sums[tile_w] = {};
  if (bias != nullptr) {
    for (int j = 0; j < tile_w; ++j) {
      for (int q = 0; q < tile_c; ++q) sums[j].v[q] = q < channels ? bias[group * tile_c + q] : 0;
    }
  }
  const int64_t first = Taps::first_column(w0);
  for (int kd = 0; kd < k; ++kd) {
    const int64_t id = Taps::input(d, kd);
    if (id < 0 || id >= x.d) continue;
    for (int kh = 0; kh < k; ++kh) {
      const int64_t ih = Taps::input(h, kh);
      if (ih < 0 || ih >= x.h) continue;
      const T* const in = x.at(n, id, ih);
      const Float4* weights = packed.data + int64_t{kd * k + kh} * packed.reduced * k * packed.groups + group;
      for (int64_t r = 0; r < packed.reduced; ++r) {
        float column[Taps::columns];
#pragma unroll
        for (int i = 0; i < Taps::columns; ++i) {
          const int64_t iw = first + i;
          column[i] = iw >= 0 && iw < x.w ? to_float(in[iw * x.stride_w + r]) : 0.0f;
        }
#pragma unroll
        for (int kw = 0; kw < k; ++kw, weights += packed.groups) {
          const Float4 weight = *weights;
#pragma unroll
          for (int j = 0; j < tile_w; ++j) {
            if (Taps::column(j, kw) < 0) continue;
            for (int q = 0; q < tile_c; ++q)
              sums[j].v[q] = fmaf(column[Taps::column(j, kw)], weight.v[q], sums[j].v[q]);
          }
        }
      }
    }
  }
  T* const out = y.at(n, d, h, w0) + group * tile_c;
#pragma unroll
  for (int j = 0; j < tile_w; ++j) {
    if (w0 + j >= y.w) break;
    for (int q = 0; q < tile_c; ++q) {
      if (q < channels) out[j * y.stride_w + q] = from_float<T>(sums[j].v[q]);
    }
  }
}

// Packs the weights and gathers. `weight` is (out, in, k, k, k) of the convolution.
template <class Taps, class T>
void gather(const View<T>& y, const View<const T>& x, const float* weight, const float* bias,
            int64_t output_stride, int64_t reduced_stride, const Exec& exec) {
  constexpr int k = Taps::kernel_size;
  if (y.elements() == 0) return;
  WorkspaceScope scope(*exec.workspace);
  const int64_t groups = (y.c + tile_c - 1) / tile_c, count = k * k * k * x.c * groups;
  const PackedWeights packed{scope.allocate<Float4>(static_cast<size_t>(count)), y.c, x.c, groups};
  pack_weights_kernel<T><<<blocks_for(count), block_threads, 0, stream_of(exec)>>>(
      packed, weight, k, output_stride, reduced_stride);
  check_launch();
  const int64_t threads = y.rows() * ((y.w + tile_w - 1) / tile_w) * groups;
  gather_kernel<Taps, T><<<blocks_for(threads), block_threads, 0, stream_of(exec)>>>(y, x, packed, bias);
  check_launch();
}

// --- Gradient of the weights -------------------------------------------------------------------------------

// A thread sums one (kd, kh), all kw, 4 output and 4 input channels over a piece of the rows of dy: with
// kernel 3 and stride 1 a voxel costs 8 loads for 48 FMAs. The window of x slides along w in registers.
template <int K, int S, int P, class T>
__global__ void __launch_bounds__(block_threads, 1)
    backward_weight_kernel(float* partials, View<const T> dy, View<const T> x, int64_t pieces) {
  const int64_t out_groups = (dy.c + tile_c - 1) / tile_c, in_groups = (x.c + tile_c - 1) / tile_c;
  int64_t rest = thread_index();
  const int64_t in_first = rest % in_groups * tile_c;
  rest /= in_groups;
  const int64_t out_first = rest % out_groups * tile_c;
  rest /= out_groups;
  const int kh = static_cast<int>(rest % K), kd = static_cast<int>(rest / K % K);
  const int64_t piece = rest / (K * K);
  if (piece >= pieces) return;
  const int outs = static_cast<int>(min(int64_t{tile_c}, dy.c - out_first)),
            ins = static_cast<int>(min(int64_t{tile_c}, x.c - in_first));

  float sums[K][tile_c][tile_c] = {};  // [kw][output][input]
  for (int64_t row = dy.rows() * piece / pieces; row < dy.rows() * (piece + 1) / pieces; ++row) {
    const int64_t id = row / dy.h % dy.d * S - P + kd, ih = row % dy.h * S - P + kh;
    if (id < 0 || id >= x.d || ih < 0 || ih >= x.h) continue;
    const T* const in = x.at(row / (dy.d * dy.h), id, ih) + in_first;
    const T* gradient = dy.row(row) + out_first;
    const auto load_column = [&](float(&column)[tile_c], int64_t iw) {
#pragma unroll
      for (int i = 0; i < tile_c; ++i)
        column[i] = i < ins && iw >= 0 && iw < x.w ? to_float(in[iw * x.stride_w + i]) : 0.0f;
    };
    constexpr int reused = K > S ? K - S : 0;
    float window[K][tile_c];
#pragma unroll
    for (int kw = 0; kw < reused; ++kw) load_column(window[S + kw], kw - P);
    for (int64_t w = 0; w < dy.w; ++w, gradient += dy.stride_w) {
#pragma unroll
      for (int kw = 0; kw < K; ++kw) {
        if (kw < reused) {
          for (int i = 0; i < tile_c; ++i) window[kw][i] = window[(kw + S) % K][i];
        } else {
          load_column(window[kw], w * S - P + kw);
        }
      }
#pragma unroll
      for (int o = 0; o < tile_c; ++o) {
        const float g = o < outs ? to_float(gradient[o]) : 0.0f;
        for (int kw = 0; kw < K; ++kw) {
          for (int i = 0; i < tile_c; ++i) sums[kw][o][i] = fmaf(g, window[kw][i], sums[kw][o][i]);
        }
      }
    }
  }
#pragma unroll
  for (int o = 0; o < tile_c; ++o) {
    for (int i = 0; i < tile_c; ++i) {
      if (o >= outs || i >= ins) continue;
      float* const out =
          partials + (((piece * dy.c + out_first + o) * x.c + in_first + i) * K * K + kd * K + kh) * K;
      for (int kw = 0; kw < K; ++kw) out[kw] = sums[kw][o][i];
    }
  }
}

// out[i] += the sum over pieces of partials[piece][i]: `Slices` threads share the pieces of one i, and their
// sums are added in order.
template <int Slices>
__global__ void __launch_bounds__(block_threads)
    accumulate_pieces_kernel(float* out, const float* partials, int64_t count, int pieces) {
  constexpr int width = block_threads / Slices;
  const int column = static_cast<int>(threadIdx.x) % width, slice = static_cast<int>(threadIdx.x) / width;
  const int64_t i = int64_t{blockIdx.x} * width + column;
  double sum = 0;
  if (i < count) {
    const float* from = partials + slice * count + i;
#pragma unroll 4
    for (int piece = slice; piece < pieces; piece += Slices, from += Slices * count) sum += *from;
  }
  if constexpr (Slices > 1) {
    __shared__ double shared[Slices][width];
    shared[slice][column] = sum;
    __syncthreads();
    if (slice != 0) return;
#pragma unroll
    for (int s = 1; s < Slices; ++s) sum += shared[s][column];
  }
  if (i < count) out[i] += static_cast<float>(sum);
}

template <int K, int S, int P, class T>
void backward_weight(float* dweight, const View<const T>& dy, const View<const T>& x, const Exec& exec) {
  // Enough threads to fill a GPU (2^17 is 1,024 a multiprocessor with 128 of them), few enough pieces to keep
  // the partial sums small: tens of megabytes at most for the 3D Attention U-Net.
  constexpr int64_t wanted_threads = int64_t{1} << 17, most_pieces = 8192;
  if (dy.elements() == 0) return;
  const int64_t count = dy.c * x.c * K * K * K;
  const int64_t threads_a_piece = (dy.c + tile_c - 1) / tile_c * ((x.c + tile_c - 1) / tile_c) * K * K;
  const int64_t pieces =
      std::clamp<int64_t>(wanted_threads / threads_a_piece, 1, std::min(dy.rows(), most_pieces));
  WorkspaceScope scope(*exec.workspace);
  float* const partials = scope.allocate<float>(static_cast<size_t>(pieces * count));
  backward_weight_kernel<K, S, P>
      <<<blocks_for(pieces * threads_a_piece), block_threads, 0, stream_of(exec)>>>(partials, dy, x, pieces);
  check_launch();
  accumulate_pieces(dweight, partials, count, pieces, exec);
}

// Calls body.operator()<kernel_size, stride, padding>(): all three are constants in the kernels, so that
// windows stay in registers.
template <class Body>
void with_constants(const Conv3dParams& p, const Body& body) {
  const int code = p.kernel_size * 100 + p.stride * 10 + p.padding;
  switch (code) {
    case 110:
      return body.template operator()<1, 1, 0>();
    case 120:
      return body.template operator()<1, 2, 0>();
    case 220:
      return body.template operator()<2, 2, 0>();
    case 310:
      return body.template operator()<3, 1, 0>();
    case 311:
      return body.template operator()<3, 1, 1>();
    case 320:
      return body.template operator()<3, 2, 0>();
    case 321:
      return body.template operator()<3, 2, 1>();
    default:
      require(false, "conv3d on CUDA: no kernel for kernel_size ", p.kernel_size, ", stride ", p.stride,
              ", padding ", p.padding);
  }
}

int64_t taps(const Conv3dParams& p) {
  return int64_t{p.kernel_size} * p.kernel_size * p.kernel_size;
}

}  // namespace

template <class T>
void conv3d_forward_direct(View<T> y, View<const T> x, const float* weight, const float* bias,
                           const Conv3dParams& params, const Exec& exec) {
  with_constants(params, [&]<int K, int S, int P>() {
    gather<ForwardTaps<K, S, P>>(y, x, weight, bias, params.in_channels * taps(params), taps(params), exec);
  });
}

template <class T>
void conv3d_backward_input_direct(View<T> dx, View<const T> dy, const float* weight, const float* bias,
                                  const Conv3dParams& params, const Exec& exec) {
  with_constants(params, [&]<int K, int S, int P>() {
    gather<BackwardTaps<K, S, P>>(dx, dy, weight, bias, taps(params), params.in_channels * taps(params),
                                  exec);
  });
}

template <class T>
void conv3d_backward_weight_direct(float* dweight, View<const T> dy, View<const T> x,
                                   const Conv3dParams& params, const Exec& exec) {
  with_constants(params, [&]<int K, int S, int P>() { backward_weight<K, S, P>(dweight, dy, x, exec); });
}

void accumulate_pieces(float* out, const float* partials, int64_t count, int64_t pieces, const Exec& exec) {
  const auto launch = [&](auto kernel, int slices) {
    kernel<<<blocks_for(count * slices), block_threads, 0, stream_of(exec)>>>(out, partials, count,
                                                                              static_cast<int>(pieces));
    check_launch();
  };
  // One thread for each number where these are enough threads to fill a GPU: shares only cost instructions.
  // Blocks of 8 numbers, whole sectors, where they are few.
  constexpr int64_t enough = int64_t{1} << 16;
  if (count >= enough || pieces <= 2) return launch(accumulate_pieces_kernel<1>, 1);
  if (count * 8 >= enough || pieces <= 16) return launch(accumulate_pieces_kernel<8>, 8);
  launch(accumulate_pieces_kernel<32>, 32);
}

#define VG_INSTANTIATE(T)                                                                                \
  template void conv3d_forward_direct(View<T>, View<const T>, const float*, const float*,                \
                                      const Conv3dParams&, const Exec&);                                 \
  template void conv3d_backward_input_direct(View<T>, View<const T>, const float*, const float*,         \
                                             const Conv3dParams&, const Exec&);                          \
  template void conv3d_backward_weight_direct(float*, View<const T>, View<const T>, const Conv3dParams&, \
                                              const Exec&);
VG_INSTANTIATE(float)
VG_INSTANTIATE(bfloat16)
#undef VG_INSTANTIATE

namespace {

bool takes_tf32(const Conv3dParams& params, const View<const float>& out, const View<const float>& in,
                const Exec& exec) {
  return exec.allow_tf32 && choose_conv3d_float_algorithm(params, out, in, exec.allow_tf32, cuda_limits()) ==
                                Conv3dAlgorithm::tf32;
}

}  // namespace

void conv3d_forward(View<float> y, View<const float> x, const float* weight, const float* bias,
                    const Conv3dParams& params, const Exec& exec) {
  if (takes_tf32(params, y, x, exec)) return conv3d_forward_tf32(y, x, weight, bias, params, exec);
  conv3d_forward_direct(y, x, weight, bias, params, exec);
}

void conv3d_backward_input_or_transpose(View<float> dx, View<const float> dy, const float* weight,
                                        const float* bias, const Conv3dParams& params, const Exec& exec) {
  if (takes_tf32(params, dx, dy, exec)) return conv3d_backward_input_tf32(dx, dy, weight, bias, params, exec);
  conv3d_backward_input_direct(dx, dy, weight, bias, params, exec);
}

void conv3d_backward_input(View<float> dx, View<const float> dy, const float* weight,
                           const Conv3dParams& params, const Exec& exec) {
  conv3d_backward_input_or_transpose(dx, dy, weight, nullptr, params, exec);
}

void conv3d_backward_weight(float* dweight, View<const float> dy, View<const float> x,
                            const Conv3dParams& params, const Exec& exec) {
  if (takes_tf32(params, dy, x, exec)) return conv3d_backward_weight_tf32(dweight, dy, x, params, exec);
  conv3d_backward_weight_direct(dweight, dy, x, params, exec);
}

}  // namespace vg::kernels::cuda
