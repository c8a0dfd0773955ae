// An attention gate and the norms of skip connection and rest (GatedInput), applied to the input of a
// convolution in shared memory as in conv3d_input_norm.cuh. A voxel's score is read by other threads than
// the one that copies it: it is copied a step earlier than the voxel, so that a barrier lies between.
#pragma once

#include "kernels/attention_gate/attention_gate_coefficient.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/conv3d/conv3d_gated_cuda.h"
#include "kernels/conv3d/conv3d_input_norm.cuh"

namespace vg::kernels::cuda {

/// What a kernel needs of a GatedInput beside the skip connection and its norm.
struct GateArguments {
  NormArguments norm_of_rest;
  View<const float> scores;
  const float *mean, *variance, *gamma, *beta;  ///< of psi
  float eps;
  int64_t distance;  ///< what lies in `rest` where `skip` would go on is so many elements further on
};
/// In its place where there is no gate.
struct NoGate {
  static constexpr int64_t distance = 0;
};
GateArguments gate_arguments(const GatedInput& x);

/// The parameters of `Channels` channels in shared memory, as in a NormTable: the first `Gated` of the skip
/// connection (or, of a table of one half, all or none), then those of the rest; and of psi. Both norms' are
/// with relu.
template <int Channels>
class GateTable {
 public:
  using Norms = NormTable<Channels>;
  static constexpr int floats = Norms::floats, psi_place = Norms::chunk_floats + Norms::slope_place;
  static_assert(psi_place % 4 == 0 && psi_place + 4 <= floats);

  /// Fills the table: half the channels of each. For all threads; a barrier must follow.
  __device__ __forceinline__ GateTable(float* shared, const NormArguments& of_skip, const GateArguments& gate,
                                       int64_t sample)
      : GateTable(shared, Channels / 16) {
    using Half = NormTable<Channels / 2>;
    [[maybe_unused]] const Half skip(shared, of_skip, sample, 0),
        rest(shared + Half::floats, gate.norm_of_rest, sample, 0);
    fill_psi(gate);
  }
  /// Fills one of channels from `first` on of the skip connection or, beyond its `count`, of the rest.
  __device__ __forceinline__ GateTable(float* shared, const NormArguments& of_skip, const GateArguments& gate,
                                       int64_t sample, int64_t first, int64_t count)
      : GateTable(shared, first < count ? Channels / 8 : 0) {
    // Not a choice of the arguments, which would need memory.
    if (first < count) {
      [[maybe_unused]] const Norms fill(shared, of_skip, sample, first);
    } else {
      [[maybe_unused]] const Norms fill(shared, gate.norm_of_rest, sample, first - count);
    }
    fill_psi(gate);
  }
  /// That has been filled before, so many of whose chunks of 8 channels are gated.
  __device__ __forceinline__ GateTable(float* shared, int gated_chunks)
      : shared_(shared), gated_chunks_(gated_chunks) {}

  /// Whether there is a gate before these 8 channels.
  __device__ __forceinline__ bool gated(int chunk) const { return chunk < gated_chunks_; }
  __device__ __forceinline__ bool any_gated() const { return gated_chunks_ > 0; }

  /// Applies the norm and the gate to what `copy` has copied of plane d by part<Parts>(), and nobody has
  /// read. score_of(column, row of the part) is read where there is a gate.
  /// `Once`: with fewer registers and more loads.
  template <int Parts, bool Once = false, class Copy, class ScoreOf>
  __device__ __forceinline__ void apply(const Copy& copy, uint32_t plane, int d, int index,
                                        const ScoreOf& score_of) const {
    if (!copy.copies_any()) return;
    const int own = copy.own_chunk();
    const bool gate = gated(own);
    const auto kept = [&] {
      if constexpr (Once) {
        return NoNorm();
      } else {
        return Norms(shared_).chunk(own);
      }
    }();
    copy.template for_each_place<Parts>(
        plane, d, index, [&](uint32_t address, const bfloat16*, int column, int row) {
          uint32_t words[4];
          ptx::load_shared_16(words, address);
          // Without a gate by 1, which changes nothing.
          const float c = gate ? coefficient(score_of(column, row)) : 1.0f;
          const auto make = [&](const auto& chunk) {
#pragma unroll
            for (int k = 0; k < 4; ++k)
              words[k] = ptx::pack_bfloat16(
                  ptx::round_bfloat16(chunk.value(ptx::low_bfloat16(words[k]), 2 * k)) * c,
                  ptx::round_bfloat16(chunk.value(ptx::high_bfloat16(words[k]), 2 * k + 1)) * c);
          };
          if constexpr (Once) {
            make(Norms(shared_).chunk(own));
          } else {
            make(kept);
          }
          ptx::store_shared_16(address, words[0], words[1], words[2], words[3]);
        });
  }

 private:
  __device__ __forceinline__ float coefficient(float score) const {
    uint32_t psi[4];
    ptx::load_shared_16(psi, ptx::shared_address(shared_ + psi_place));
    return gate_coefficient(score, __uint_as_float(psi[0]), __uint_as_float(psi[1]), __uint_as_float(psi[2]),
                            __uint_as_float(psi[3]));
  }
  __device__ __forceinline__ void fill_psi(const GateArguments& gate) {
    if (threadIdx.x != 0) return;
    float* const psi = shared_ + psi_place;
    psi[0] = *gate.mean;
    psi[1] = 1 / sqrtf(*gate.variance + gate.eps);
    psi[2] = *gate.gamma;
    psi[3] = *gate.beta;
  }

  float* shared_;
  int gated_chunks_;
};

/// Scores of Rows rows of a tile of Width voxels and, unless Margin is 0, one voxel around it, in shared
/// memory from the multiple of 16 bytes before them on. The tile begins at a multiple of four voxels.
template <int Rows, int Width, int Margin = 4>
struct ScoreRows {
  static constexpr int pitch = Width + 2 * Margin, chunks_a_row = pitch / 4, bytes = Rows * pitch * 4,
                       copies = Rows * chunks_a_row, first = Margin > 0 ? Margin - 1 : 0;

  /// Where the copy-th 16 bytes lie in a row of sample n, with the tile's first voxel at w; -1 where nobody
  /// reads them: outside.
  static __device__ __forceinline__ int place(const View<const float>& scores, int64_t n, int w, int copy) {
    const int column = w - Margin + copy % chunks_a_row * 4;
    return copy < copies && static_cast<unsigned>(column) < static_cast<unsigned>(scores.w)
               ? static_cast<int>(n * scores.stride_n) + column
               : -1;
  }
  static __device__ __forceinline__ int row_of(int copy) { return copy / chunks_a_row; }
  /// ... in a plane, in this row.
  static __device__ __forceinline__ int in_row(const View<const float>& scores, int place, int row) {
    return static_cast<unsigned>(row) < static_cast<unsigned>(scores.h) && place >= 0
               ? place + row * static_cast<int>(scores.stride_h)
               : -1;
  }
  /// Starts their copy.
  static __device__ __forceinline__ void copy(uint32_t shared, const View<const float>& scores, int place,
                                              int d, int copy) {
    if (place >= 0 && static_cast<unsigned>(d) < static_cast<unsigned>(scores.d))
      ptx::copy_16_async(shared + copy * 16, scores.data + (place + d * static_cast<int>(scores.stride_d)),
                         true);
  }
  /// Of the column-th voxel, from the one before the tile on if there is a margin.
  static __device__ __forceinline__ float at(uint32_t shared, int column, int row) {
    const int i = column + first;
    uint32_t words[4];
    ptx::load_shared_16(words, shared + (row * pitch + i / 4 * 4) * 4);
    const float even = __uint_as_float(i % 4 >= 2 ? words[2] : words[0]),
                odd = __uint_as_float(i % 4 >= 2 ? words[3] : words[1]);
    return i % 2 != 0 ? odd : even;
  }
};

}  // namespace vg::kernels::cuda
