// Both gradients of a convolution with kernel 1 from a norm's result to few channels (the network's last
// layer). The gradient dy of the norm's result is a few multiply-adds from the gradient of the classes, a
// quarter of its size: instead of storing it, two passes make it from there.
//   sums: reads x and the gradient of the classes; the weights', the bias' and the norm's sums
//   apply: reads the same, writes dx
#include "kernels/conv3d/conv3d_norm_gradient.cuh"
#include "kernels/conv3d/conv3d_pointwise.cuh"

namespace vg::kernels::cuda {

namespace {

// dy of a lane's channels at one voxel.
template <int Narrow>
__device__ __forceinline__ Lanes<wide_channels> input_gradient(const float (&w)[Narrow][wide_channels],
                                                               const Lanes<Narrow>& from) {
  Lanes<wide_channels> dy = Lanes<wide_channels>::all(0);
#pragma unroll
  for (int n = 0; n < Narrow; ++n) {
#pragma unroll
    for (int c = 0; c < wide_channels; ++c) dy[c] = fmaf(from[n], w[n][c], dy[c]);
  }
  return dy;
}

constexpr int norm_sums = 3;  // of a channel, see NormGradientSums

// What a lane sums of its channels. In memory: [Narrow][channels], [channels][norm_sums], [Narrow].
template <int Narrow>
struct LaneSums {
  float weight[Narrow][wide_channels] = {}, norm[wide_channels][norm_sums] = {}, bias[Narrow] = {};
};

// A block's numbers.
template <int Parts, int Narrow>
struct BlockSums {
  static constexpr int channels = Parts * wide_channels, norm = Narrow * channels,
                       bias = norm + channels * norm_sums, count = bias + Narrow;
};

// Each block leaves its sums: weights in their order, the norm's by channel, the bias'.
struct Partials {
  float *weight, *norm, *bias;
};

template <int Parts, int Narrow>
__global__ void __launch_bounds__(block_threads)
    pointwise_norm_sums_kernel(Partials partials, NarrowVoxels<const bfloat16, Narrow> dy_of_narrow,
                               VoxelPointer<const bfloat16> in, Weights weights, PointwiseGrid grid,
                               NormArguments norm_of_input) {
  using Block = BlockSums<Parts, Narrow>;
  __shared__ float shared[warps][Block::count];
  const WarpShare<Parts> share(grid);
  const LaneNorm norm(norm_of_input, share.sample, share.part * wide_channels);
  float w[Narrow][wide_channels];
  load_weights(w, weights, dy_of_narrow.channels, share.part);
  LaneSums<Narrow> sums;
  for (int64_t tile = share.first; share.begin(tile) < share.limit; tile += share.step) {
#pragma unroll
    for (int turn = 0; turn < Parts; ++turn) {
      const int64_t voxel = share.voxel(tile, turn);
      if (voxel >= share.limit) continue;
      const auto x = Lanes<wide_channels>::load_constant(in(voxel) + share.part * wide_channels);
      const Lanes<Narrow> from = dy_of_narrow.load(voxel);
      const Lanes<wide_channels> dy = input_gradient(w, from);
#pragma unroll
      for (int c = 0; c < wide_channels; ++c) {
        const float centred = x[c] - norm.mean[c], v = norm.before_activation(centred, c),
                    dv = norm.gradient(dy[c], v), y = to_float(to_bfloat16(norm.activation(v)));
        sums.norm[c][0] += dv;
        sums.norm[c][1] = fmaf(dv, centred, sums.norm[c][1]);
        if (v <= 0) sums.norm[c][2] = fmaf(dy[c], v, sums.norm[c][2]);
#pragma unroll
        for (int n = 0; n < Narrow; ++n) sums.weight[n][c] = fmaf(y, from[n], sums.weight[n][c]);
      }
#pragma unroll
      for (int n = 0; n < Narrow; ++n) sums.bias[n] += from[n];
    }
  }
  // Over the warp's lanes of the same channels, then over the warps.
  float* const of_warp = shared[threadIdx.x / 32];
  const auto store = [&](int place, float sum, int writers = Parts) {
#pragma unroll
    for (int distance = Parts; distance < 32; distance *= 2)
      sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
    if (share.lane < writers) of_warp[place] = sum;
  };
#pragma unroll
  for (int c = 0; c < wide_channels; ++c) {
    const int channel = share.part * wide_channels + c;
#pragma unroll
    for (int n = 0; n < Narrow; ++n) store(n * Block::channels + channel, sums.weight[n][c]);
#pragma unroll
    for (int i = 0; i < norm_sums; ++i) store(Block::norm + channel * norm_sums + i, sums.norm[c][i]);
  }
#pragma unroll
  for (int n = 0; n < Narrow; ++n) store(Block::bias + n, sums.bias[n], 1);  // every part has the same
  __syncthreads();
  const int64_t block = blockIdx.x;
  const int narrow = dy_of_narrow.channels, of_weights = narrow * Block::channels;
  for (int i = static_cast<int>(threadIdx.x); i < Block::count; i += block_threads) {
    float sum = 0;
    for (int warp = 0; warp < warps; ++warp) sum += shared[warp][i];
    if (i < of_weights) {
      partials.weight[block * of_weights + i] = sum;
    } else if (i >= Block::bias) {
      if (i - Block::bias < narrow) partials.bias[block * narrow + i - Block::bias] = sum;
    } else if (i >= Block::norm) {
      partials.norm[block * (Block::bias - Block::norm) + i - Block::norm] = sum;
    }
  }
}

// dx = scale (dv - mean(dv) - xhat mean(dv xhat)) as in norm3d_backward_input(). `means` is null where the
// statistics are constants.
template <int Parts, int Narrow>
__global__ void __launch_bounds__(block_threads, (least_norm_blocks<Parts, Narrow>))
    pointwise_norm_apply_kernel(VoxelPointer<bfloat16> dx, NarrowVoxels<const bfloat16, Narrow> dy_of_narrow,
                                VoxelPointer<const bfloat16> in, Weights weights, PointwiseGrid grid,
                                NormArguments norm_of_input, const float* means, int64_t groups) {
  const WarpShare<Parts> share(grid);
  const int channel = share.part * wide_channels;
  const LaneNorm norm(norm_of_input, share.sample, channel);
  Lanes<wide_channels> offset = Lanes<wide_channels>::all(0), factor = offset;
  if (means != nullptr) {
    const float* const mine = means + share.sample * norm_of_input.group_stride + channel;
    offset = Lanes<wide_channels>::parameters(mine);
    factor = Lanes<wide_channels>::parameters(mine + groups);
  }
  float w[Narrow][wide_channels];
  load_weights(w, weights, dy_of_narrow.channels, share.part);
  for (int64_t tile = share.first; share.begin(tile) < share.limit; tile += share.step) {
#pragma unroll
    for (int turn = 0; turn < Parts; ++turn) {
      const int64_t voxel = share.voxel(tile, turn);
      if (voxel >= share.limit) continue;
      const auto x = Lanes<wide_channels>::load_constant(in(voxel) + channel);
      Lanes<wide_channels> dy = input_gradient(w, dy_of_narrow.load(voxel));
#pragma unroll
      for (int c = 0; c < wide_channels; ++c) {
        const float centred = x[c] - norm.mean[c],
                    dv = norm.gradient(dy[c], norm.before_activation(centred, c));
        dy[c] = norm.scale[c] * fmaf(-centred, factor[c], dv - offset[c]);
      }
      dy.store(dx(voxel) + channel);
    }
  }
}

}  // namespace

bool pointwise_norm_applies(const View<const bfloat16>& y, const View<const bfloat16>& x,
                            const InputNorm& norm) {
  return y.c <= x.c && input_norm_applies(norm) && norm.first_channel == 0;
}

void conv3d_backward_to_norm_pointwise(float* dweight, float* dbias, const NormGradients& gradients,
                                       float* means, View<const bfloat16> dy, View<const bfloat16> x,
                                       const InputNorm& norm, const float* weight, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const PointwiseGrid grid = pointwise_sample_grid(x);
  const auto allocate = [&](int64_t count) {
    return scope.allocate<float>(size_t{grid.blocks()} * static_cast<size_t>(count));
  };
  const Partials partials{allocate(dy.c * x.c), allocate(norm_sums * x.c), allocate(dy.c)};
  const int64_t groups = norm.params.per_instance ? x.n : 1, blocks = grid.blocks();
  with_pointwise_channels(dy.c, x.c, [&]<int Parts, int Narrow>() {
    pointwise_norm_sums_kernel<Parts, Narrow><<<grid.blocks(), block_threads, 0, stream_of(exec)>>>(
        partials, NarrowVoxels<const bfloat16, Narrow>(dy), VoxelPointer<const bfloat16>(x),
        Weights{weight, x.c, 1}, grid, norm_arguments(norm, x.c));
  });
  check_launch();
  if (dweight != nullptr) accumulate_pieces(dweight, partials.weight, dy.c * x.c, blocks, exec);
  if (dbias != nullptr) accumulate_pieces(dbias, partials.bias, dy.c, blocks, exec);
  norm3d_add_gradients(means, gradients,
                       {partials.norm, norm_sums, groups, blocks / groups, x.c, x.voxels() / groups}, norm,
                       exec);
}

void conv3d_make_gradient_pointwise(View<bfloat16> dx, const NarrowGradient& source, const Exec& exec) {
  const View<const bfloat16>&x = source.x, &dy = source.dy;
  const PointwiseGrid grid = pointwise_sample_grid(x);
  const int64_t groups = source.norm.params.per_instance ? x.n : 1;
  with_pointwise_channels(dy.c, x.c, [&]<int Parts, int Narrow>() {
    pointwise_norm_apply_kernel<Parts, Narrow><<<grid.blocks(), block_threads, 0, stream_of(exec)>>>(
        VoxelPointer<bfloat16>(dx), NarrowVoxels<const bfloat16, Narrow>(dy), VoxelPointer<const bfloat16>(x),
        Weights{source.weight, x.c, 1}, grid, norm_arguments(source.norm, x.c),
        source.norm.params.fixed_statistics ? nullptr : source.means, groups * x.c);
  });
  check_launch();
}

void conv3d_backward_through_norm_pointwise(View<bfloat16> dx, float* dweight, float* dbias,
                                            const NormGradients& gradients, View<const bfloat16> dy,
                                            View<const bfloat16> x, const InputNorm& norm,
                                            const float* weight, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const int64_t groups = norm.params.per_instance ? x.n : 1;
  float* const means = scope.allocate<float>(static_cast<size_t>(2 * groups * x.c));
  conv3d_backward_to_norm_pointwise(dweight, dbias, gradients, means, dy, x, norm, weight, exec);
  conv3d_make_gradient_pointwise(dx, {dy, weight, x, norm, means}, exec);
}

}  // namespace vg::kernels::cuda
