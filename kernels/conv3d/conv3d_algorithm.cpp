#include "kernels/conv3d/conv3d_algorithm.h"

#include <algorithm>
#include <limits>

#include "kernels/conv3d/conv3d_first_tile.h"
#include "kernels/conv3d/conv3d_gemm_tile.h"
#include "kernels/conv3d/conv3d_halo_tile.h"
#include "kernels/conv3d/conv3d_narrow_gradient.h"
#include "kernels/conv3d/conv3d_strided_gemm_tile.h"
#include "kernels/conv3d/conv3d_strided_tile.h"
#include "kernels/conv3d/conv3d_tf32_tile.h"

namespace vg::kernels {

namespace {

// Every voxel starts at a multiple of 16 bytes: what copies and stores of 16 bytes need.
template <class T>
bool aligned(const View<const T>& v) {
  constexpr int64_t elements = 16 / sizeof(T);
  return reinterpret_cast<uintptr_t>(v.data) % 16 == 0 && v.stride_n % elements == 0 &&
         v.stride_d % elements == 0 && v.stride_h % elements == 0 && v.stride_w % elements == 0;
}

// What all kernels with a halo tile need.
bool halo_kernels_apply(const Conv3dParams& p, const View<const bfloat16>& out,
                        const View<const bfloat16>& in, int shared_bytes, const CudaLimits& limits) {
  // Output and input have the same extents, and the gradient is a convolution of the same kind.
  if (p.kernel_size != 3 || p.stride != 1 || p.padding != 1) return false;
  // bfloat16 mma and cp.async came with 8.0.
  if (limits.compute_capability < 80 || limits.shared_bytes < shared_bytes) return false;
  // The kernels count voxels along an axis in int, with room for a tile beyond the edge.
  constexpr int64_t longest = std::numeric_limits<int>::max() / 2;
  return std::max({out.d, out.h, out.w}) <= longest && aligned(out) && aligned(in);
}

// What the matrix products need.
bool gemm_kernels_apply(const Conv3dParams& p, const View<const bfloat16>& out,
                        const View<const bfloat16>& in, int shared_bytes, const CudaLimits& limits) {
  if (p.stride != 1 || p.padding != p.kernel_size / 2) return false;
  if (out.c % 16 != 0 || in.c % 16 != 0 || !aligned(out) || !aligned(in)) return false;
  if (limits.compute_capability < 80 || limits.shared_bytes < shared_bytes) return false;
  // The kernels count positions and elements in int, with room for a tile and a plane beyond the ends.
  const auto fits = [](const View<const bfloat16>& v) {
    constexpr int64_t most = std::numeric_limits<int>::max() / 2;
    return gemm_positions(v, 3) + v.d * v.h * (v.w + 1) <= most && v.n * v.stride_n <= most;
  };
  return fits(out) && fits(in);
}

// From 64 to 64 channels on a matrix product makes more of a GPU than a halo tile: its warps have 64 x 64
// outputs and its blocks waste one position of a row's 20 where tiles of 8 voxels waste 4.
bool wide_gemm_applies(const Conv3dParams& p, const View<const bfloat16>& out, const View<const bfloat16>& in,
                       const CudaLimits& limits) {
  return std::min(out.c, in.c) >= 64 && gemm_applies(p, out, in, limits);
}

// Likewise: at 20 voxels a row and fewer, tiles of 16 x 16 voxels waste more than they save by reading voxels
// less often.
bool wide_gemm_wgrad_applies(const Conv3dParams& p, const View<const bfloat16>& dy,
                             const View<const bfloat16>& x, const CudaLimits& limits) {
  return std::min(dy.c, x.c) >= 64 && gemm_wgrad_applies(p, dy, x, limits);
}

// What all kernels for stride 2 need.
bool strided_kernels_apply(const Conv3dParams& p, const View<const bfloat16>& out,
                           const View<const bfloat16>& in, int shared_bytes, const CudaLimits& limits) {
  if (p.kernel_size != 3 || p.stride != 2 || p.padding != 1) return false;
  if (limits.compute_capability < 80 || limits.shared_bytes < shared_bytes) return false;
  // Counted in int, like channels, with room for a tile of the finer side beyond the edge.
  constexpr int64_t longest = std::numeric_limits<int>::max() / 4;
  const auto countable = [](const View<const bfloat16>& v) {
    return std::max({v.d, v.h, v.w, v.c}) <= longest && v.c >= 16 && v.c % 16 == 0;
  };
  return countable(out) && countable(in) && aligned(out) && aligned(in);
}

// What the matrix products for stride 2 need besides.
bool strided_gemm_kernels_apply(const Conv3dParams& p, const View<const bfloat16>& fine,
                                const View<const bfloat16>& coarse, int shared_bytes,
                                const CudaLimits& limits) {
  // Positions and elements are counted in int, with room for a tile and a plane beyond the ends.
  constexpr int64_t most = std::numeric_limits<int>::max() / 2;
  const auto fits = [](const View<const bfloat16>& v) {
    return v.voxels() <= most && (v.n + 1) * v.stride_n <= most && v.stride_d <= most;
  };
  return fits(fine) && fits(coarse) && strided_kernels_apply(p, fine, coarse, shared_bytes, limits);
}

// The list's last entry: gathers with any parameters, channels and placement.
bool direct_applies(const Conv3dParams&, const View<const bfloat16>&, const View<const bfloat16>&,
                    const CudaLimits&) {
  return true;
}

struct Candidate {
  Conv3dAlgorithm algorithm;
  bool (*applies)(const Conv3dParams&, const View<const bfloat16>& out, const View<const bfloat16>& in,
                  const CudaLimits&);
};

// Fastest first. The first layer's kernels take what no other on tensor cores does; there is none for its
// input gradient, which a network does not need.
constexpr Candidate wgrad_candidates[] = {
    {Conv3dAlgorithm::gemm, wide_gemm_wgrad_applies},
    {Conv3dAlgorithm::halo_tile, halo_wgrad_applies},
    {Conv3dAlgorithm::gemm, gemm_wgrad_applies},
    {Conv3dAlgorithm::strided_gemm, strided_gemm_wgrad_applies},
    {Conv3dAlgorithm::strided, strided_wgrad_applies},
    {Conv3dAlgorithm::first_layer, first_layer_applies},
    {Conv3dAlgorithm::pointwise, pointwise_applies},
    {Conv3dAlgorithm::direct, direct_applies},
};
constexpr Candidate candidates[] = {
    {Conv3dAlgorithm::gemm_warpgroup, gemm_warpgroup_applies},
    {Conv3dAlgorithm::gemm, wide_gemm_applies},
    {Conv3dAlgorithm::halo_tile, halo_tile_applies},
    {Conv3dAlgorithm::gemm, gemm_applies},
    {Conv3dAlgorithm::strided_gemm, strided_gemm_applies},
    {Conv3dAlgorithm::strided, strided_applies},
    {Conv3dAlgorithm::first_layer, first_layer_applies},
    {Conv3dAlgorithm::pointwise, pointwise_applies},
    {Conv3dAlgorithm::direct, direct_applies},
};
constexpr Candidate backward_input_candidates[] = {
    {Conv3dAlgorithm::gemm_warpgroup, gemm_warpgroup_applies},
    {Conv3dAlgorithm::gemm, wide_gemm_applies},
    {Conv3dAlgorithm::halo_tile, halo_tile_applies},
    {Conv3dAlgorithm::gemm, gemm_applies},
    {Conv3dAlgorithm::strided_gemm, strided_gemm_transposed_applies},
    {Conv3dAlgorithm::strided, strided_transposed_applies},
    {Conv3dAlgorithm::pointwise, pointwise_applies},
    {Conv3dAlgorithm::direct, direct_applies},
};

template <size_t N>
Conv3dAlgorithm first_that_applies(const Candidate (&list)[N], const Conv3dParams& params,
                                   const View<const bfloat16>& out, const View<const bfloat16>& in,
                                   const CudaLimits& limits) {
  return std::find_if(std::begin(list), std::end(list),
                      [&](const Candidate& c) { return c.applies(params, out, in, limits); })
      ->algorithm;
}

}  // namespace

bool halo_tile_applies(const Conv3dParams& p, const View<const bfloat16>& out, const View<const bfloat16>& in,
                       const CudaLimits& limits) {
  const int tile = halo_tile_index(in.c, out.c);
  return tile >= 0 && halo_kernels_apply(p, out, in, halo_tiles[tile].shared_bytes(), limits);
}

bool conv3d_applies_norm(const Conv3dParams& p) {
  const int64_t in = p.in_channels, out = p.out_channels;
  if (p.kernel_size == 1 && p.stride == 1 && p.padding == 0)
    return out <= std::min<int64_t>(in, 8) && (in == 8 || in == 16 || in == 32 || in == 64);
  if (p.kernel_size != 3 || p.padding != 1) return false;
  // From 32 to a multiple of 64 channels short rows go to matrix products, which do not.
  if (p.stride == 2) return in % 16 == 0 && out % 32 == 0 && in <= 128 && (in < 32 || out % 64 != 0);
  return std::min(p.in_channels, p.out_channels) < 64 && halo_tile_index(p.in_channels, p.out_channels) >= 0;
}

namespace {

// Beyond, partial sums of so many blocks of 16 x 16 channels would outgrow the activations.
bool halo_wgrad_takes(int64_t c) {
  return c % HaloWgradTile::channels == 0 && c <= 64;
}

}  // namespace

bool conv3d_makes_gradient(const Conv3dParams& p) {
  return p.kernel_size == 3 && p.stride == 1 && p.padding == 1 &&
         (p.in_channels <= FirstTile::channels
              ? p.out_channels % FirstTile::out_channels == 0
              : halo_wgrad_takes(p.in_channels) && halo_wgrad_takes(p.out_channels));
}

bool gemm_applies(const Conv3dParams& p, const View<const bfloat16>& out, const View<const bfloat16>& in,
                  const CudaLimits& limits) {
  const GemmTile widest{p.kernel_size, 64};
  const int shared_bytes = std::max(widest.shared_bytes(), GemmPlaneTile::shared_bytes());
  return gemm_kernels_apply(p, out, in, shared_bytes, limits);
}

bool gemm_warpgroup_applies(const Conv3dParams& p, const View<const bfloat16>& out,
                            const View<const bfloat16>& in, const CudaLimits& limits) {
  // Compute capability 9.0 has these instructions, later ones have others. There they have twice the rate of
  // mma; below 64 columns the reads of the input from shared memory would bind them. Short rows: there mma
  // goes without the columns of zeros, an eighth and more of the products, and reads half as much.
  if (p.kernel_size != 3 || limits.compute_capability != 90 || std::min(out.c, in.c) < 64 ||
      GemmPlaneTile::suits(out.c, out.w))
    return false;
  const int shared_bytes =
      std::max(GemmTile{3, 64, true}.shared_bytes(), GemmTile{3, 128, true}.shared_bytes());
  return gemm_kernels_apply(p, out, in, shared_bytes, limits);
}

bool first_layer_applies(const Conv3dParams& p, const View<const bfloat16>& out,
                         const View<const bfloat16>& in, const CudaLimits& limits) {
  // An input of another form is copied to this one: 16 bytes a pair of voxels read and written beside 64 for
  // the pair's 16 outputs.
  constexpr int shared_bytes = std::max(FirstForwardTile::shared_bytes, FirstWgradTile::shared_bytes);
  return in.c <= FirstTile::channels && out.c % FirstTile::out_channels == 0 &&
         halo_kernels_apply(p, out, out, shared_bytes, limits);
}

bool pointwise_applies(const Conv3dParams& p, const View<const bfloat16>& out, const View<const bfloat16>& in,
                       const CudaLimits& limits) {
  if (p.kernel_size != 1 || p.stride != 1 || p.padding != 0) return false;
  // Conversions of two floats to bfloat16 at a time came with 8.0.
  if (limits.compute_capability < 80) return false;
  // The narrow side's channels are unrolled; the wide side's are spread over a power of two of lanes, up to
  // 8, 16 bytes each. Between more channels there are products enough for tensor cores.
  const View<const bfloat16>&narrow = out.c <= in.c ? out : in, &wide = out.c <= in.c ? in : out;
  return narrow.c <= 8 && (wide.c == 8 || wide.c == 16 || wide.c == 32 || wide.c == 64) && aligned(wide);
}

bool gemm_wgrad_applies(const Conv3dParams& p, const View<const bfloat16>& dy, const View<const bfloat16>& x,
                        const CudaLimits& limits) {
  const int shared_bytes = std::max(GemmWgradTile::shared_bytes, GemmPlaneWgradTile::shared_bytes);
  return gemm_kernels_apply(p, dy, x, shared_bytes, limits);
}

bool halo_wgrad_applies(const Conv3dParams& p, const View<const bfloat16>& dy, const View<const bfloat16>& x,
                        const CudaLimits& limits) {
  return halo_wgrad_takes(x.c) && halo_wgrad_takes(dy.c) &&
         halo_kernels_apply(p, dy, x, HaloWgradTile{}.shared_bytes(), limits);
}

bool halo_gradients_apply(const Conv3dParams& p, const View<const bfloat16>& dx,
                          const View<const bfloat16>& dy, const View<const bfloat16>& x,
                          const CudaLimits& limits) {
  constexpr HaloGradientsTile tile;
  constexpr int shared_bytes = tile.shared_bytes() + tile.score_bytes() + HaloGradientsTile::table_bytes;
  return dy.c == HaloGradientsTile::channels && (x.c == 16 || x.c == 32) && aligned(x) &&
         halo_kernels_apply(p, dx, dy, shared_bytes, limits);
}

bool conv3d_makes_both_gradients_of_narrow(const Conv3dParams& p) {
  return p.kernel_size == 3 && p.stride == 1 && p.padding == 1 &&
         p.out_channels == HaloGradientsTile::channels && (p.in_channels == 16 || p.in_channels == 32);
}

bool strided_applies(const Conv3dParams& p, const View<const bfloat16>& out, const View<const bfloat16>& in,
                     const CudaLimits& limits) {
  const int tile = strided_forward_tile_index(in.c, out.c);
  return tile >= 0 && strided_kernels_apply(p, out, in, strided_forward_tiles[tile].shared_bytes(), limits);
}

bool strided_transposed_applies(const Conv3dParams& p, const View<const bfloat16>& out,
                                const View<const bfloat16>& in, const CudaLimits& limits) {
  return strided_kernels_apply(p, out, in, StridedTransposedTile::shared_bytes, limits);
}

bool strided_wgrad_applies(const Conv3dParams& p, const View<const bfloat16>& dy,
                           const View<const bfloat16>& x, const CudaLimits& limits) {
  return strided_kernels_apply(p, dy, x, StridedWgradTile{{}, dy.c % 32 == 0 ? 2 : 1}.shared_bytes(), limits);
}

bool transposed_gradients_apply(const Conv3dParams& p, const View<const bfloat16>& dx,
                                const NormInputGradient& source, const View<const bfloat16>& x,
                                const CudaLimits& limits) {
  using Tile = TransposedGradientsTile;
  return source.dy.c == Tile::channels && x.c == Tile::coarse_channels &&
         strided_kernels_apply(p, source.dy, x, Tile::shared_bytes, limits) &&
         strided_kernels_apply(p, source.x, dx, Tile::shared_bytes, limits);
}

namespace {

bool strided_gradients_take(int64_t in_channels, int64_t out_channels) {
  return in_channels == StridedGradientsTile::channels &&
         out_channels == StridedGradientsTile::coarse_channels;
}

}  // namespace

bool strided_gradients_apply(const Conv3dParams& p, const View<const bfloat16>& dx,
                             const View<const bfloat16>& dy, const View<const bfloat16>& x,
                             const CudaLimits& limits) {
  return strided_gradients_take(x.c, dy.c) && strided_kernels_apply(p, dx, dy, 0, limits) &&
         strided_kernels_apply(p, x, dy, StridedGradientsTile::shared_bytes, limits);
}

bool conv3d_makes_both_gradients(const Conv3dParams& p) {
  return p.kernel_size == 3 && p.stride == 2 && p.padding == 1 &&
         strided_gradients_take(p.in_channels, p.out_channels);
}

bool strided_gemm_applies(const Conv3dParams& p, const View<const bfloat16>& out,
                          const View<const bfloat16>& in, const CudaLimits& limits) {
  const StridedGemmForwardTile tile{{}, out.c % 128 == 0 ? 2 : 1};
  return in.c >= 32 && out.c % 64 == 0 && out.w <= StridedGemmTile::widest &&
         strided_gemm_kernels_apply(p, in, out, tile.shared_bytes(), limits);
}

bool strided_gemm_transposed_applies(const Conv3dParams& p, const View<const bfloat16>& out,
                                     const View<const bfloat16>& in, const CudaLimits& limits) {
  return in.c >= 64 && out.c >= StridedGemmTransposedTile::columns && in.w <= StridedGemmTile::widest &&
         strided_gemm_kernels_apply(p, out, in, StridedGemmTransposedTile::shared_bytes(), limits);
}

bool strided_gemm_wgrad_applies(const Conv3dParams& p, const View<const bfloat16>& dy,
                                const View<const bfloat16>& x, const CudaLimits& limits) {
  return x.c >= 32 && dy.c >= 64 && dy.w <= StridedGemmWgradTile::widest &&
         strided_gemm_kernels_apply(p, x, dy, strided_gemm_wgrad_shared_bytes(x.c, dy.c, dy.h, dy.w), limits);
}

Conv3dAlgorithm choose_conv3d_algorithm(const Conv3dParams& params, const View<const bfloat16>& out,
                                        const View<const bfloat16>& in, const CudaLimits& limits) {
  return first_that_applies(candidates, params, out, in, limits);
}

Conv3dAlgorithm choose_conv3d_backward_input_algorithm(const Conv3dParams& params,
                                                       const View<const bfloat16>& dx,
                                                       const View<const bfloat16>& dy,
                                                       const CudaLimits& limits) {
  return first_that_applies(backward_input_candidates, params, dx, dy, limits);
}

Conv3dAlgorithm choose_conv3d_wgrad_algorithm(const Conv3dParams& params, const View<const bfloat16>& dy,
                                              const View<const bfloat16>& x, const CudaLimits& limits) {
  return first_that_applies(wgrad_candidates, params, dy, x, limits);
}

bool tf32_applies(const Conv3dParams& p, const View<const float>& out, const View<const float>& in,
                  const CudaLimits& limits) {
  constexpr int shared_bytes = std::max({tf32_tile(1, 64).shared_bytes(), tf32_tile(3, 64).shared_bytes(),
                                         Tf32WgradTile{3, 4, 4}.shared_bytes()});
  // TF32 mma and cp.async came with 8.0.
  if (limits.compute_capability < 80 || limits.shared_bytes < shared_bytes) return false;
  // The kernels count positions and elements in int, with room for a tile and the taps beyond the ends.
  const auto fits = [&](const View<const float>& v) {
    constexpr int64_t most = std::numeric_limits<int>::max() / 4;
    return v.c % 4 == 0 && aligned(v) && gemm_positions(v, 3) + v.d * v.h * (v.w + 1) <= most &&
           v.n * v.stride_n + 4 * v.stride_d <= 2 * most;
  };
  return p.kernel_size <= 3 && p.stride <= 2 && fits(out) && fits(in);
}

Conv3dAlgorithm choose_conv3d_float_algorithm(const Conv3dParams& p, const View<const float>& out,
                                              const View<const float>& in, bool allow_tf32,
                                              const CudaLimits& limits) {
  // One kernel family takes whatever fits it; it rounds its operands, so it must be allowed.
  return allow_tf32 && tf32_applies(p, out, in, limits) ? Conv3dAlgorithm::tf32 : Conv3dAlgorithm::direct;
}

HaloGrid halo_grid(int height, int width, int64_t groups, const View<const bfloat16>& out,
                   int multiprocessors) {
  const auto pieces = [](int64_t extent, int64_t piece) { return (extent + piece - 1) / piece; };
  // At least: some tiles leave room for a third block on newer devices.
  constexpr int64_t blocks_a_multiprocessor = 2;
  HaloGrid grid{groups, pieces(out.w, width), pieces(out.h, height), out.d, 1, out.n};
  const int64_t columns = grid.blocks(), resident = multiprocessors * blocks_a_multiprocessor;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int64_t segments = 1; segments <= out.d; ++segments) {
    if (segments > 1 && columns * (out.d + 2 * segments) > least * resident) break;  // even without a tail
    const int64_t march = pieces(out.d, segments), cost = pieces(columns * segments, resident) * (march + 2);
    if (cost >= least || pieces(out.d, march) != segments) continue;
    least = cost;
    grid.march = march;
    grid.segments = segments;
  }
  return grid;
}

}  // namespace vg::kernels
