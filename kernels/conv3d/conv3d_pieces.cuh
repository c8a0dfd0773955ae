// A block's sums may be those of a piece of a longer sum, of which other blocks of the same launch have the
// other pieces. Here they find each other, without a second pass.
#pragma once

#include <cstdint>

#include "kernels/common/lanes.cuh"
#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/copy_async.cuh"
#include "kernels/common/ptx/vector_access.cuh"

namespace vg::kernels::cuda {

/// Where blocks meet: (pieces - 1) * tiles meetings.
struct PieceMeetings {
  float* partials;    ///< a block's sums for each meeting
  unsigned* tickets;  ///< one for each meeting, zero at the start

  /// Shared memory that add() needs for so many threads with so many sums.
  VG_INLINE static constexpr int shared_bytes(int threads, int sums) {
    return at_once(sums / 4) * threads * 16;
  }

  /// Adds the sums of a tile's pieces, which blocks of one launch have: they meet in pairs, those that go on
  /// in pairs again; an odd one out goes on. Of the two at a meeting the block that comes first leaves its
  /// sums in scratch memory and is done; the other one waits until they are there, which is soon, for that
  /// block is running, adds them and goes on. a + b has the same bits whoever comes first. True for the block
  /// that has all of them. The first `Threads` threads of the block have sums; all must call. `shared`:
  /// shared_bytes() that nobody needs any more.
  template <int Threads, int Rows, int Fragments>
  __device__ __forceinline__ bool add(float (&sums)[Rows][Fragments][4], int pieces, int piece, int tiles,
                                      int tile, unsigned* shared) const {
    constexpr unsigned stored = 4;  // added to a ticket; the arrivals are 1 and 2
    const int thread = static_cast<int>(threadIdx.x);
    int first_meeting = 0, count = pieces, index = piece;  // of the round
    const auto next_round = [&] { first_meeting += count / 2, count = (count + 1) / 2, index /= 2; };
#pragma unroll 1
    while (true) {
      while (count > 1 && index / 2 >= count / 2) next_round();
      if (count == 1) return true;
      const int meeting = (first_meeting + index / 2) * tiles + tile;
      float* const place = partials + int64_t{meeting} * (Threads * Rows * Fragments * 4) + thread * 4;
      unsigned* const ticket = tickets + meeting;
      __syncthreads();
      if (thread == 0) *shared = atomicAdd(ticket, 1u);
      __syncthreads();
      if (*shared == 0) {
        if (thread < Threads) store<Threads>(place, sums);
        __threadfence();
        __syncthreads();
        if (thread == 0) atomicAdd(ticket, stored);
        return false;
      }
      if (thread == 0) {
        while (atomicAdd(ticket, 0u) < stored) {
        }
      }
      __syncthreads();
      __threadfence();
      if (thread < Threads) add_stored<Threads>(sums, place, ptx::shared_address(shared) + thread * 16);
      next_round();
    }
  }

 private:
  /// Words of 16 bytes that a thread copies at a time.
  VG_INLINE static constexpr int at_once(int words) {
    int count = words < 16 ? words : 16;
    while (words % count != 0) --count;
    return count;
  }

  template <int Threads, int Rows, int Fragments>
  static __device__ __forceinline__ void store(float* place, const float (&sums)[Rows][Fragments][4]) {
#pragma unroll
    for (int i = 0; i < Rows; ++i) {
#pragma unroll
      for (int j = 0; j < Fragments; ++j)
        Lanes<4>{{sums[i][j][0], sums[i][j][1], sums[i][j][2], sums[i][j][3]}}.store(
            place + (i * Fragments + j) * (Threads * 4));
    }
  }

  /// Through shared memory, `own` of this thread: copies on their way take no registers.
  template <int Threads, int Rows, int Fragments>
  static __device__ __forceinline__ void add_stored(float (&sums)[Rows][Fragments][4], const float* place,
                                                    uint32_t own) {
    constexpr int words = Rows * Fragments, turn = at_once(words);
#pragma unroll
    for (int first = 0; first < words; first += turn) {
#pragma unroll
      for (int i = 0; i < turn; ++i)
        ptx::copy_16_async(own + i * (Threads * 16), place + (first + i) * (Threads * 4), true);
      ptx::commit_copies();
      ptx::wait_copies<0>();
#pragma unroll
      for (int i = 0; i < turn; ++i) {
        uint32_t values[4];
        ptx::load_shared_16(values, own + i * (Threads * 16));
        float(&to)[4] = sums[(first + i) / Fragments][(first + i) % Fragments];
#pragma unroll
        for (int k = 0; k < 4; ++k) to[k] += __uint_as_float(values[k]);
      }
    }
  }
};

/// Scratch memory for so many meetings of blocks with so many sums, tickets cleared.
inline PieceMeetings prepare_meetings(WorkspaceScope& scope, int64_t meetings, int64_t sums,
                                      const Exec& exec) {
  if (meetings == 0) return {};
  unsigned* const tickets = scope.allocate<unsigned>(static_cast<size_t>(meetings));
  check_cuda(cudaMemsetAsync(tickets, 0, static_cast<size_t>(meetings) * sizeof(unsigned), stream_of(exec)));
  return {scope.allocate<float>(static_cast<size_t>(meetings * sums)), tickets};
}

}  // namespace vg::kernels::cuda
