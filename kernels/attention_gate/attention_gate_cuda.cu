// The same passes as on the CPU. A block takes a tile of voxels into shared memory and computes the two
// convolutions there anew in every pass. Sums: one partial result per piece (a fixed range of tiles, walked
// by one block), then the pieces are added in order.
#include "kernels/attention_gate/attention_gate_cuda.h"
#include "kernels/attention_gate/attention_gate_impl.h"
#include "kernels/common/bfloat16.h"
#include "kernels/common/reduce.cuh"
#include "kernels/elementwise/elementwise.h"
#include "kernels/norm3d/norm3d_impl.h"

namespace vg::kernels::cuda {

namespace {

/// Voxels of a tile: a warp's worth, or fewer where channels are many.
constexpr int largest_tile = 32;
/// What every block gets without asking for more.
constexpr size_t shared_memory = 48 * 1024;
/// Pieces of a sum: some blocks for every multiprocessor of any GPU.
constexpr int64_t most_pieces = 512;

/// One convolution with its batch norm.
template <class T>
struct Branch {
  View<const T> input;
  const float *weight, *bias, *gamma, *beta, *mean, *variance;

  __device__ float inverse_deviation(int f, float eps) const { return 1 / sqrtf(variance[f] + eps); }
  /// Rounded to T, as tensor cores take it.
  __device__ float weight_at(int i) const { return to_float(from_float<T>(weight[i])); }
};

template <class T>
struct Gate {
  Branch<T> branch[2];  // of g, of x
  const float *weight_psi, *bias_psi, *gamma_psi, *beta_psi, *mean_psi, *variance_psi;
  float eps;
  int intermediate, inputs, tile;  // inputs: channels of g and x together
  int64_t voxels, tiles, pieces;

  size_t shared_bytes() const {
    return static_cast<size_t>(tile) * static_cast<size_t>(inputs + 2 * intermediate + 2) * sizeof(float);
  }
  __device__ float inverse_deviation_psi() const { return 1 / sqrtf(*variance_psi + eps); }
  /// The coefficient that belongs to a score.
  __device__ float coefficient(float score) const {
    const float z = fmaf((score - *mean_psi) * inverse_deviation_psi(), *gamma_psi, *beta_psi);
    return 1 / (1 + expf(-z));
  }
  /// From what forward keeps for backward: the coefficient, or beside bfloat16 activations the score.
  __device__ float kept_coefficient(float kept) const {
    return std::is_same_v<T, float> ? kept : coefficient(kept);
  }
};

template <class T>
Gate<T> make_gate(const View<const T>& g, const View<const T>& x, const AttentionGateWeights& w,
                  const AttentionGateStatistics& s, const AttentionGateParams& params) {
  Gate<T> gate{{{g, w.weight_g, w.bias_g, w.gamma_g, w.beta_g, s.mean_g, s.variance_g},
                {x, w.weight_x, w.bias_x, w.gamma_x, w.beta_x, s.mean_x, s.variance_x}},
               w.weight_psi,
               w.bias_psi,
               w.gamma_psi,
               w.beta_psi,
               s.mean_psi,
               s.variance_psi,
               params.eps,
               static_cast<int>(params.intermediate_channels),
               static_cast<int>(g.c + x.c),
               largest_tile,
               x.voxels(),
               0,
               0};
  while (gate.tile > 1 && gate.shared_bytes() > shared_memory) gate.tile /= 2;
  require(gate.shared_bytes() <= shared_memory, "attention_gate: ", gate.inputs, " input and ",
          gate.intermediate, " intermediate channels need ", gate.shared_bytes(),
          " bytes of shared memory, expected at most ", shared_memory);
  gate.tiles = (gate.voxels + gate.tile - 1) / gate.tile;
  gate.pieces = std::min(gate.tiles, most_pieces);
  return gate;
}

/// A tile in shared memory.
struct Tile {
  int64_t first;  // voxel
  int count;
  float* inputs;     // [tile][inputs]
  float* convolved;  // [tile][2 * intermediate]: of g, of x
  float *a, *b;      // [tile] each: at the pass's disposal
};

// Loads the inputs and convolves them. Starts and ends with a barrier.
template <class T>
__device__ Tile load_tile(const Gate<T>& gate, int64_t index, float* shared) {
  const int width = 2 * gate.intermediate, channels_g = static_cast<int>(gate.branch[0].input.c);
  Tile tile{index * gate.tile, 0, shared, shared + gate.tile * gate.inputs, nullptr, nullptr};
  tile.count = static_cast<int>(min(static_cast<int64_t>(gate.tile), gate.voxels - tile.first));
  tile.a = tile.convolved + gate.tile * width;
  tile.b = tile.a + gate.tile;
  __syncthreads();
  for (int i = threadIdx.x; i < tile.count * gate.inputs; i += block_threads) {
    const int v = i / gate.inputs, c = i % gate.inputs;
    tile.inputs[i] = to_float(c < channels_g ? voxel(gate.branch[0].input, tile.first + v)[c]
                                             : voxel(gate.branch[1].input, tile.first + v)[c - channels_g]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < tile.count * width; i += block_threads) {
    const int v = i / width, side = i % width / gate.intermediate, f = i % gate.intermediate;
    const Branch<T>& b = gate.branch[side];
    const int channels = static_cast<int>(b.input.c);
    const float* const in = tile.inputs + v * gate.inputs + (side == 0 ? 0 : channels_g);
    float sum = b.bias[f];
    for (int c = 0; c < channels; ++c) sum = fmaf(b.weight_at(f * channels + c), in[c], sum);
    tile.convolved[i] = sum;
  }
  __syncthreads();
  return tile;
}

// The normalised convolutions of one voxel and intermediate channel, and their sum before the relu.
struct Hidden {
  float normalised[2], inverse_deviation[2], value;
};
template <class T>
__device__ Hidden hidden(const Gate<T>& gate, const Tile& tile, int v, int f) {
  Hidden h;
  h.value = 0;
  for (int side = 0; side < 2; ++side) {
    const Branch<T>& b = gate.branch[side];
    h.inverse_deviation[side] = b.inverse_deviation(f, gate.eps);
    h.normalised[side] =
        (tile.convolved[(2 * v + side) * gate.intermediate + f] - b.mean[f]) * h.inverse_deviation[side];
    h.value += fmaf(h.normalised[side], b.gamma[f], b.beta[f]);
  }
  return h;
}

// w_psi . relu(hidden) + b_psi of voxel v, by one warp; every lane gets it.
template <class T>
__device__ float psi_before_norm(const Gate<T>& gate, const Tile& tile, int v) {
  float sum = 0;
  for (int f = threadIdx.x % 32; f < gate.intermediate; f += 32) {
    const float h = hidden(gate, tile, v, f).value;
    sum = fmaf(h <= 0 ? 0.0f : h, gate.weight_psi[f], sum);
  }
  return warp_reduce(sum, Plus{}) + *gate.bias_psi;
}

// Adds to a partial result that this block alone owns; `first` is true for its first tile.
__device__ void add_to(double* partial, bool first, double value) {
  *partial = first ? value : *partial + value;
}

// Calls body(tile, is it the piece's first) for the tiles of this block's piece.
template <class T, class Body>
__device__ void for_each_tile(const Gate<T>& gate, const Body& body) {
  extern __shared__ float shared[];
  const int64_t begin = gate.tiles * blockIdx.x / gate.pieces,
                end = gate.tiles * (blockIdx.x + 1) / gate.pieces;
  for (int64_t i = begin; i < end; ++i) body(load_tile(gate, i, shared), i == begin);
}

// partials[piece][2 * intermediate][2]: sums of the convolutions and of their squares.
template <class T>
__global__ void branch_moments_kernel(Gate<T> gate, double* partials) {
  const int width = 2 * gate.intermediate;
  double* const mine = partials + int64_t{blockIdx.x} * width * 2;
  for_each_tile(gate, [&](const Tile& tile, bool first) {
    for (int k = threadIdx.x; k < width; k += block_threads) {
      Moments moments(tile.convolved[k]);
      for (int v = 0; v < tile.count; ++v) moments.add(tile.convolved[v * width + k]);
      add_to(mine + 2 * k, first, moments.sum());
      add_to(mine + 2 * k + 1, first, moments.square());
    }
  });
}

// psi = what its batch norm will get; partials[piece][2]: its sum and that of its square.
template <class T>
__global__ void psi_before_norm_kernel(Gate<T> gate, View<float> psi, double* partials) {
  double* const mine = partials + int64_t{blockIdx.x} * 2;
  for_each_tile(gate, [&](const Tile& tile, bool first) {
    for (int v = threadIdx.x / 32; v < tile.count; v += block_threads / 32) {
      const float value = psi_before_norm(gate, tile, v);
      if (threadIdx.x % 32 != 0) continue;
      tile.a[v] = value;
      *voxel(psi, tile.first + v) = value;
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    double sum = 0, square = 0;
    for (int v = 0; v < tile.count; ++v) {
      const double value = tile.a[v];
      sum += value;
      square += value * value;
    }
    add_to(mine, first, sum);
    add_to(mine + 1, first, square);
  });
}

// psi = sigmoid(norm(psi)), one thread a voxel.
template <class T>
__global__ void coefficients_kernel(Gate<T> gate, View<float> psi) {
  const int64_t i = thread_index();
  if (i >= gate.voxels) return;
  float* const value = voxel(psi, i);
  *value = gate.coefficient(*value);
}

// y = x * coefficient(score), one thread an element.
template <class T>
__global__ void attend_kernel(Gate<T> gate, View<T> y, View<const float> scores) {
  const int64_t i = thread_index();
  if (i >= y.elements()) return;
  const float coefficient = gate.coefficient(*voxel(scores, i / y.c));
  *element(y, i) = from_float<T>(to_float(*element(gate.branch[1].input, i)) * coefficient);
}

/// Backward's first pass leaves these for every voxel: d loss / d (the sigmoid's argument), and the
/// normalised input of psi's batch norm.
struct PsiGradient {
  float *dz, *normalised;
  const double* sums;  // of dz, of dz * normalised; null where the statistics are constants

  template <class T>
  __device__ float before_norm(const Gate<T>& gate, int64_t v) const {
    float d = dz[v];
    if (sums != nullptr) {
      const double count = static_cast<double>(gate.voxels);
      d = d - static_cast<float>(sums[0] / count) - normalised[v] * static_cast<float>(sums[1] / count);
    }
    return *gate.gamma_psi * gate.inverse_deviation_psi() * d;
  }
};

// partials[piece][2]: sums of dz and dz * normalised.
template <class T>
__global__ void psi_gradient_kernel(Gate<T> gate, PsiGradient gradient, View<const T> dy,
                                    View<const float> psi, double* partials) {
  double* const mine = partials + int64_t{blockIdx.x} * 2;
  const int channels = static_cast<int>(dy.c), lane = threadIdx.x % 32;
  for_each_tile(gate, [&](const Tile& tile, bool first) {
    for (int v = threadIdx.x / 32; v < tile.count; v += block_threads / 32) {
      const float before = psi_before_norm(gate, tile, v);
      const T* const u = voxel(dy, tile.first + v);
      const float* const in = tile.inputs + (v + 1) * gate.inputs - channels;
      float dot = 0;
      for (int c = lane; c < channels; c += 32) dot = fmaf(to_float(u[c]), in[c], dot);
      dot = warp_reduce(dot, Plus{});
      if (lane != 0) continue;
      const float p = gate.kept_coefficient(*voxel(psi, tile.first + v)), dz = dot * p * (1 - p),
                  normalised = (before - *gate.mean_psi) * gate.inverse_deviation_psi();
      gradient.dz[tile.first + v] = dz;
      gradient.normalised[tile.first + v] = normalised;
      tile.a[v] = dz;
      tile.b[v] = normalised;
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    double sum = 0, product = 0;
    for (int v = 0; v < tile.count; ++v) {
      sum += tile.a[v];
      product += static_cast<double>(tile.a[v]) * tile.b[v];
    }
    add_to(mine, first, sum);
    add_to(mine + 1, first, product);
  });
}

// tile.a = d loss / d (w_psi . relu(hidden) + b_psi). Ends with a barrier.
template <class T>
__device__ void load_psi_gradient(const Gate<T>& gate, const PsiGradient& gradient, const Tile& tile) {
  for (int v = threadIdx.x; v < tile.count; v += block_threads)
    tile.a[v] = gradient.before_norm(gate, tile.first + v);
  __syncthreads();
}

// Per intermediate channel, with dh = d loss / d hidden: sums of dh, dh * normalised g, dh * normalised x and
// ds * h; after these [4][intermediate] the sum of ds.
constexpr int hidden_sums = 4;

template <class T>
__global__ void hidden_gradient_kernel(Gate<T> gate, PsiGradient gradient, double* partials) {
  double* const mine = partials + int64_t{blockIdx.x} * (hidden_sums * gate.intermediate + 1);
  for_each_tile(gate, [&](const Tile& tile, bool first) {
    load_psi_gradient(gate, gradient, tile);
    for (int f = threadIdx.x; f < gate.intermediate; f += block_threads) {
      float sums[hidden_sums] = {};
      for (int v = 0; v < tile.count; ++v) {
        const Hidden h = hidden(gate, tile, v, f);
        if (h.value <= 0) continue;
        const float dh = tile.a[v] * gate.weight_psi[f];
        sums[0] += dh;
        sums[1] = fmaf(dh, h.normalised[0], sums[1]);
        sums[2] = fmaf(dh, h.normalised[1], sums[2]);
        sums[3] = fmaf(tile.a[v], h.value, sums[3]);
      }
      for (int r = 0; r < hidden_sums; ++r) add_to(mine + r * gate.intermediate + f, first, sums[r]);
    }
    if (threadIdx.x != 0) return;
    double sum = 0;
    for (int v = 0; v < tile.count; ++v) sum += tile.a[v];
    add_to(mine + hidden_sums * gate.intermediate, first, sum);
  });
}

// Turns the tile's convolutions into the gradients of their outputs, in place. `sums` are the totals of the
// second pass, null where the statistics are constants. Ends with a barrier.
template <class T>
__device__ void convolution_gradients(const Gate<T>& gate, const Tile& tile, const double* sums) {
  const double count = static_cast<double>(gate.voxels);
  for (int i = threadIdx.x; i < tile.count * gate.intermediate; i += block_threads) {
    const int v = i / gate.intermediate, f = i % gate.intermediate;
    const Hidden h = hidden(gate, tile, v, f);
    const float dh = h.value <= 0 ? 0.0f : tile.a[v] * gate.weight_psi[f];
    for (int side = 0; side < 2; ++side) {
      float d = dh;
      if (sums != nullptr) {
        d = d - static_cast<float>(sums[f] / count) -
            h.normalised[side] * static_cast<float>(sums[(1 + side) * gate.intermediate + f] / count);
      }
      tile.convolved[(2 * v + side) * gate.intermediate + f] =
          gate.branch[side].gamma[f] * h.inverse_deviation[side] * d;
    }
  }
  __syncthreads();
}

// dg, dx and partials[piece]: [2][intermediate] sums of the convolutions' gradients, then the weights' [f][c]
// of g and of x.
template <class T>
__global__ void input_gradients_kernel(Gate<T> gate, PsiGradient gradient, const double* sums, View<T> dg,
                                       View<T> dx, View<const T> dy, View<const float> psi,
                                       double* partials) {
  const int width = 2 * gate.intermediate, channels_g = static_cast<int>(dg.c),
            channels_x = static_cast<int>(dx.c);
  double* const mine = partials + int64_t{blockIdx.x} * (width + gate.intermediate * gate.inputs);
  for_each_tile(gate, [&](const Tile& tile, bool first) {
    load_psi_gradient(gate, gradient, tile);
    convolution_gradients(gate, tile, sums);
    for (int i = threadIdx.x; i < tile.count * gate.inputs; i += block_threads) {
      const int v = i / gate.inputs, k = i % gate.inputs, side = k < channels_g ? 0 : 1,
                c = side == 0 ? k : k - channels_g, channels = side == 0 ? channels_g : channels_x;
      const int64_t at = tile.first + v;
      const float* const d = tile.convolved + (2 * v + side) * gate.intermediate;
      float sum = side == 0 ? 0.0f : to_float(voxel(dy, at)[c]) * gate.kept_coefficient(*voxel(psi, at));
      for (int f = 0; f < gate.intermediate; ++f)
        sum = fmaf(d[f], gate.branch[side].weight_at(f * channels + c), sum);
      voxel(side == 0 ? dg : dx, at)[c] = from_float<T>(sum);
    }
    for (int k = threadIdx.x; k < width; k += block_threads) {
      float sum = 0;
      for (int v = 0; v < tile.count; ++v) sum += tile.convolved[v * width + k];
      add_to(mine + k, first, sum);
    }
    const int weights_g = gate.intermediate * channels_g;
    for (int i = threadIdx.x; i < gate.intermediate * gate.inputs; i += block_threads) {
      const int side = i < weights_g ? 0 : 1, j = side == 0 ? i : i - weights_g,
                channels = side == 0 ? channels_g : channels_x;
      const float* const d = tile.convolved + side * gate.intermediate + j / channels;
      const float* const in = tile.inputs + (side == 0 ? 0 : channels_g) + j % channels;
      float sum = 0;
      for (int v = 0; v < tile.count; ++v) sum = fmaf(d[v * width], in[v * gate.inputs], sum);
      add_to(mine + width + i, first, sum);
    }
  });
}

// totals[i] = sum of partials[piece][i] in order, one thread a total.
__global__ void sum_pieces_kernel(double* totals, const double* partials, int64_t pieces, int64_t count) {
  const int64_t i = thread_index();
  if (i >= count) return;
  double sum = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) sum += partials[piece * count + i];
  totals[i] = sum;
}

__global__ void finish_moments_kernel(float* mean, float* variance, const double* sums, int64_t count,
                                      double values) {
  const int64_t i = thread_index();
  if (i < count) finish_moments(mean[i], variance[i], sums[2 * i], sums[2 * i + 1], values);
}

__global__ void add_gradient_kernel(float* gradient, const double* sums, int64_t count) {
  const int64_t i = thread_index();
  if (i < count) gradient[i] += static_cast<float>(sums[i]);
}

// Runs `kernel(gate, arguments..., partials)`, whose pieces give `count` sums each, and returns the totals.
template <class T, class Kernel, class... Arguments>
const double* sums_of(const Gate<T>& gate, int64_t count, WorkspaceScope& scope, const Exec& exec,
                      Kernel kernel, const Arguments&... arguments) {
  double* const totals = scope.allocate<double>(static_cast<size_t>(count));
  WorkspaceScope partials_scope(*exec.workspace);
  double* const partials = partials_scope.allocate<double>(static_cast<size_t>(gate.pieces * count));
  kernel<<<static_cast<unsigned>(gate.pieces), block_threads, gate.shared_bytes(), stream_of(exec)>>>(
      gate, arguments..., partials);
  check_launch();
  sum_pieces_kernel<<<blocks_for(count), block_threads, 0, stream_of(exec)>>>(totals, partials, gate.pieces,
                                                                              count);
  check_launch();
  return totals;
}

void write_statistics(float* mean, float* variance, const double* sums, int64_t count, int64_t voxels,
                      const Exec& exec) {
  finish_moments_kernel<<<blocks_for(count), block_threads, 0, stream_of(exec)>>>(
      mean, variance, sums, count, static_cast<double>(voxels));
  check_launch();
}

void add_gradient(float* gradient, const double* sums, int64_t count, const Exec& exec) {
  add_gradient_kernel<<<blocks_for(count), block_threads, 0, stream_of(exec)>>>(gradient, sums, count);
  check_launch();
}

template <class T>
void run_forward(View<T> y, View<float> psi, const AttentionGateStatistics& statistics, View<const T> g,
                 View<const T> x, const AttentionGateWeights& weights, const AttentionGateParams& params,
                 const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const Gate<T> gate = make_gate(g, x, weights, statistics, params);
  const int64_t f = gate.intermediate;
  if (!params.fixed_statistics) {
    const double* const sums = sums_of(gate, 4 * f, scope, exec, branch_moments_kernel<T>);
    write_statistics(statistics.mean_g, statistics.variance_g, sums, f, gate.voxels, exec);
    write_statistics(statistics.mean_x, statistics.variance_x, sums + 2 * f, f, gate.voxels, exec);
  }
  const double* const sums = sums_of(gate, 2, scope, exec, psi_before_norm_kernel<T>, psi);
  if (!params.fixed_statistics)
    write_statistics(statistics.mean_psi, statistics.variance_psi, sums, 1, gate.voxels, exec);
  if constexpr (std::is_same_v<T, float>) {
    coefficients_kernel<<<blocks_for(gate.voxels), block_threads, 0, stream_of(exec)>>>(gate, psi);
    check_launch();
    multiply(y, x, psi, exec);
  } else if (y.data != nullptr) {
    attend_kernel<T><<<blocks_for(y.elements()), block_threads, 0, stream_of(exec)>>>(gate, y, psi);
    check_launch();
  }
}

template <class T>
void run_backward(View<T> dg, View<T> dx, const AttentionGateGradients& gradients, View<const T> dy,
                  View<const float> psi, const AttentionGateStatistics& statistics, View<const T> g,
                  View<const T> x, const AttentionGateWeights& weights, const AttentionGateParams& params,
                  const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const Gate<T> gate = make_gate(g, x, weights, statistics, params);
  const int64_t f = gate.intermediate;
  const auto voxels = static_cast<size_t>(gate.voxels);
  const bool fixed = params.fixed_statistics;

  PsiGradient gradient{scope.allocate<float>(voxels), scope.allocate<float>(voxels), nullptr};
  const double* const psi_sums = sums_of(gate, 2, scope, exec, psi_gradient_kernel<T>, gradient, dy, psi);
  add_gradient(gradients.beta_psi, psi_sums, 1, exec);
  add_gradient(gradients.gamma_psi, psi_sums + 1, 1, exec);
  if (!fixed) gradient.sums = psi_sums;

  const double* const hidden =
      sums_of(gate, hidden_sums * f + 1, scope, exec, hidden_gradient_kernel<T>, gradient);
  add_gradient(gradients.beta_g, hidden, f, exec);
  add_gradient(gradients.beta_x, hidden, f, exec);
  add_gradient(gradients.gamma_g, hidden + f, f, exec);
  add_gradient(gradients.gamma_x, hidden + 2 * f, f, exec);
  add_gradient(gradients.weight_psi, hidden + 3 * f, f, exec);
  add_gradient(gradients.bias_psi, hidden + hidden_sums * f, 1, exec);

  const double* const sums = sums_of(gate, 2 * f + f * gate.inputs, scope, exec, input_gradients_kernel<T>,
                                     gradient, fixed ? nullptr : hidden, dg, dx, dy, psi);
  add_gradient(gradients.bias_g, sums, f, exec);
  add_gradient(gradients.bias_x, sums + f, f, exec);
  add_gradient(gradients.weight_g, sums + 2 * f, f * g.c, exec);
  add_gradient(gradients.weight_x, sums + 2 * f + f * g.c, f * x.c, exec);
}

// g or x after its norm, in scratch memory; or as it is.
View<const bfloat16> after_norm(const View<const bfloat16>& g, const InputNorm& norm, WorkspaceScope& scope,
                                const Exec& exec) {
  if (norm.mean == nullptr) return g;
  const View<bfloat16> y =
      contiguous_view(scope.allocate<bfloat16>(static_cast<size_t>(g.elements())), g.n, g.d, g.h, g.w, g.c);
  norm3d_apply(y, g, norm.mean, norm.variance, norm.gamma, norm.beta, norm.slope, norm.params, exec);
  return y;
}

}  // namespace

void attention_gate_forward(View<float> y, View<float> psi, const AttentionGateStatistics& statistics,
                            View<const float> g, View<const float> x, const AttentionGateWeights& weights,
                            const AttentionGateParams& params, const Exec& exec) {
  run_forward(y, psi, statistics, g, x, weights, params, exec);
}
void attention_gate_forward(View<bfloat16> y, View<float> psi, const AttentionGateStatistics& statistics,
                            View<const bfloat16> g, View<const bfloat16> x,
                            const AttentionGateWeights& weights, const AttentionGateParams& params,
                            const Exec& exec) {
  if (attention_gate_tensor_applies(params, {y, g, x}))
    return attention_gate_forward_tensor(y, psi, statistics, g, x, weights, params, exec);
  WorkspaceScope scope(*exec.workspace);
  g = after_norm(g, params.norm_of_g, scope, exec);
  x = after_norm(x, params.norm_of_x, scope, exec);
  run_forward(y, psi, statistics, g, x, weights, params, exec);
}
void attention_gate_attend(View<bfloat16> y, View<const bfloat16> x, View<const float> scores,
                           const AttentionGateStatistics& statistics, const AttentionGateWeights& weights,
                           const AttentionGateParams& params, const Exec& exec) {
  if (attention_gate_tensor_applies(params, {y, x}))
    return attention_gate_attend_tensor(y, x, scores, statistics, weights, params, exec);
  WorkspaceScope scope(*exec.workspace);
  x = after_norm(x, params.norm_of_x, scope, exec);
  // Of the gate this needs psi alone.
  attend_kernel<bfloat16><<<blocks_for(y.elements()), block_threads, 0, stream_of(exec)>>>(
      make_gate(x, x, weights, statistics, params), y, scores);
  check_launch();
}

void attention_gate_backward(View<float> dg, View<float> dx, const AttentionGateGradients& gradients,
                             View<const float> dy, View<const float> psi,
                             const AttentionGateStatistics& statistics, View<const float> g,
                             View<const float> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, View<const float> dg_so_far,
                             const Exec& exec) {
  run_backward(dg, dx, gradients, dy, psi, statistics, g, x, weights, params, exec);
  if (dg_so_far.data != nullptr) kernels::add(dg, dg, dg_so_far, exec);
}
void attention_gate_backward(View<bfloat16> dg, View<bfloat16> dx, const AttentionGateGradients& gradients,
                             View<const bfloat16> dy, View<const float> psi,
                             const AttentionGateStatistics& statistics, View<const bfloat16> g,
                             View<const bfloat16> x, const AttentionGateWeights& weights,
                             const AttentionGateParams& params, View<const bfloat16> dg_so_far,
                             float* norm_sums, const Exec& exec) {
  const bool add = dg_so_far.data != nullptr;
  if (attention_gate_tensor_applies(params, {dg, dx, dy, g, x, add ? dg_so_far : dg}))
    return attention_gate_backward_tensor(dg, dx, gradients, dy, psi, statistics, g, x, weights, params,
                                          dg_so_far, norm_sums, exec);
  WorkspaceScope scope(*exec.workspace);
  run_backward(dg, dx, gradients, dy, psi, statistics, after_norm(g, params.norm_of_g, scope, exec),
               after_norm(x, params.norm_of_x, scope, exec), weights, params, exec);
  if (add) kernels::add(dg, dg, dg_so_far, exec);
  if (norm_sums != nullptr) norm3d_gradient_sums(norm_sums, dg, g, params.norm_of_g, exec);
}

}  // namespace vg::kernels::cuda
