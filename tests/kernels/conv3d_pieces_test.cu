// Blocks of one launch that meet and add their sums: in every order of arrival, and beside a block that is
// slow where the other one has to wait.
#include "kernels/conv3d/conv3d_pieces.cuh"

#include <algorithm>
#include <numeric>

#include "support/buffer.h"
#include "support/devices.h"
#include "support/random_data.h"

namespace vg::test {
namespace {

using namespace vg::kernels;
using cuda::PieceMeetings;

using Conv3dPiecesTest = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, Conv3dPiecesTest, ::testing::Values(DeviceKind::cuda),
                         [](const auto& parameter) { return device_name(parameter.param); });

constexpr int block_threads = 64;

/// Sums of a block: `threads` of its threads have rows x fragments x 4 of them.
template <int Threads, int Rows, int Fragments>
struct Shape {
  static constexpr int threads = Threads;
  static constexpr int of_thread = Rows * Fragments * 4, count = Threads * of_thread;
  static constexpr int shared_words = PieceMeetings::shared_bytes(Threads, of_thread) / 4;
  using Sums = float[Rows][Fragments][4];
};
using OneWord = Shape<32, 1, 1>;  // half of the block's threads
using TwoTurns = Shape<block_threads, 4, 5>;

__device__ unsigned read(unsigned* flag) {
  return atomicAdd(flag, 0u);
}

// The sums of all pieces of tile blockIdx.x / pieces. Blocks arrive one by one: this one after
// ranks[blockIdx.x] others of its tile are done.
template <class S>
__global__ void add_in_turn(PieceMeetings meetings, const float* values, const int* ranks, unsigned* turns,
                            float* results, unsigned* winners, int pieces, int tiles) {
  __shared__ alignas(16) unsigned shared[S::shared_words];
  const int tile = blockIdx.x / pieces, piece = blockIdx.x % pieces, thread = threadIdx.x;
  const bool has_sums = thread < S::threads;
  typename S::Sums sums = {};
  float* const first = &sums[0][0][0];
  for (int i = 0; has_sums && i < S::of_thread; ++i)
    first[i] = values[piece * S::count + thread * S::of_thread + i];
  if (thread == 0) {
    while (read(turns + tile) != static_cast<unsigned>(ranks[blockIdx.x])) {
    }
  }
  __syncthreads();
  const bool all = meetings.add<S::threads>(sums, pieces, piece, tiles, tile, shared);
  for (int i = 0; all && has_sums && i < S::of_thread; ++i)
    results[tile * S::count + thread * S::of_thread + i] = first[i];
  __syncthreads();
  if (thread != 0) return;
  if (all) atomicAdd(winners + tile, 1u);
  atomicAdd(turns + tile, 1u);
}

// In pairs, those in pairs again; an odd one out goes on.
std::vector<float> sums_of_pairs(std::vector<std::vector<float>> pieces) {
  while (pieces.size() > 1) {
    std::vector<std::vector<float>> next;
    for (size_t i = 0; i < pieces.size(); i += 2) {
      next.push_back(pieces[i]);
      if (i + 1 == pieces.size()) break;
      for (size_t k = 0; k < next.back().size(); ++k) next.back()[k] += pieces[i + 1][k];
    }
    pieces = std::move(next);
  }
  return pieces[0];
}

// One tile for each of `orders`; twice, for the second call finds what the first one left in the workspace.
template <class S>
void expect_same_bits(int pieces, const std::vector<std::vector<int>>& orders, const Exec& exec) {
  SCOPED_TRACE(::testing::Message() << pieces << " pieces");
  const int tiles = static_cast<int>(orders.size());
  std::vector<std::vector<float>> values;
  std::vector<float> all_values;
  for (int piece = 0; piece < pieces; ++piece) {
    values.push_back(uniform(S::count, static_cast<uint64_t>(piece), -1, 1));
    all_values.insert(all_values.end(), values.back().begin(), values.back().end());
  }
  std::vector<int> ranks;
  for (const std::vector<int>& order : orders) ranks.insert(ranks.end(), order.begin(), order.end());
  const std::vector<float> expected = sums_of_pairs(values);
  const Buffer<float> device_values(DeviceKind::cuda, all_values);
  const Buffer<int> device_ranks(DeviceKind::cuda, ranks);
  for (int call = 0; call < 2; ++call) {
    const Buffer<unsigned> turns(DeviceKind::cuda, std::vector<unsigned>(orders.size(), 0)),
        winners(DeviceKind::cuda, std::vector<unsigned>(orders.size(), 0));
    const Buffer<float> results(DeviceKind::cuda, int64_t{tiles} * S::count);
    WorkspaceScope scope(*exec.workspace);
    const PieceMeetings meetings = cuda::prepare_meetings(scope, int64_t{pieces - 1} * tiles, S::count, exec);
    add_in_turn<S><<<pieces * tiles, block_threads>>>(meetings, device_values.data(), device_ranks.data(),
                                                      turns.data(), results.data(), winners.data(), pieces,
                                                      tiles);
    cuda::check_launch();
    EXPECT_EQ(winners.get(), std::vector<unsigned>(orders.size(), 1));
    const std::vector<float> actual = results.get();
    for (int tile = 0; tile < tiles; ++tile) {
      const auto begin = actual.begin() + tile * S::count;
      EXPECT_EQ(std::vector<float>(begin, begin + S::count), expected)
          << ::testing::PrintToString(orders[static_cast<size_t>(tile)]);
    }
  }
}

TEST_P(Conv3dPiecesTest, SameBitsInEveryOrderOfArrival) {
  for (int pieces = 1; pieces <= 4; ++pieces) {
    std::vector<int> order(static_cast<size_t>(pieces));
    std::iota(order.begin(), order.end(), 0);
    std::vector<std::vector<int>> orders;
    do {
      orders.push_back(order);
    } while (std::next_permutation(order.begin(), order.end()));
    expect_same_bits<OneWord>(pieces, orders, exec());
  }
  expect_same_bits<TwoTurns>(5, {{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 0, 4, 1, 3}}, exec());
  expect_same_bits<OneWord>(7, {{6, 0, 5, 1, 4, 2, 3}, {3, 4, 2, 5, 1, 6, 0}}, exec());
}

// Tickets as add() has them: one for each block that comes, four more when the sums of the first are stored.
constexpr unsigned arrival = 1, stored = 4;

// Block 0 comes first and leaves ones, but only long after block 1, which calls add(), has come.
template <class S>
__global__ void add_beside_a_slow_block(PieceMeetings meetings, float* results, unsigned* finished,
                                        unsigned* too_early) {
  __shared__ alignas(16) unsigned shared[S::shared_words];
  const int thread = threadIdx.x;
  if (blockIdx.x == 0) {
    if (thread == 0) {
      atomicAdd(meetings.tickets, arrival);
      while (read(meetings.tickets) < 2 * arrival) {
      }
      for (int poll = 0; poll < 4096 && *too_early == 0; ++poll) *too_early = read(finished);
    }
    __syncthreads();
    for (int i = thread; i < S::count; i += block_threads) meetings.partials[i] = 1;
    __threadfence();
    __syncthreads();
    if (thread == 0) atomicAdd(meetings.tickets, stored);
    return;
  }
  typename S::Sums sums;
  float* const first = &sums[0][0][0];
  for (int i = 0; i < S::of_thread; ++i) first[i] = static_cast<float>(thread + i);
  if (thread == 0) {
    while (read(meetings.tickets) == 0) {
    }
  }
  __syncthreads();
  meetings.add<S::threads>(sums, 2, 1, 1, 0, shared);
  if (thread < S::threads) {
    for (int i = 0; i < S::of_thread; ++i) results[thread * S::of_thread + i] = first[i];
  }
  __syncthreads();
  if (thread == 0) atomicAdd(finished, 1u);
}

template <class S>
void expect_wait() {
  const Buffer<float> partials(DeviceKind::cuda, S::count), results(DeviceKind::cuda, S::count);
  const Buffer<unsigned> flags(DeviceKind::cuda, std::vector<unsigned>(3, 0));
  add_beside_a_slow_block<S><<<2, block_threads>>>({partials.data(), flags.data()}, results.data(),
                                                   flags.data() + 1, flags.data() + 2);
  cuda::check_launch();
  EXPECT_EQ(flags.get()[2], 0u) << "went on before the other block's sums were stored";
  std::vector<float> expected;
  for (int thread = 0; thread < S::threads; ++thread) {
    for (int i = 0; i < S::of_thread; ++i) expected.push_back(static_cast<float>(thread + i + 1));
  }
  EXPECT_EQ(results.get(), expected);
}

TEST_P(Conv3dPiecesTest, WaitsUntilTheOtherSumsAreStored) {
  expect_wait<OneWord>();
  expect_wait<TwoTurns>();
}

// One block, which comes first. Its thread 0 says that the sums are stored, so it must have met the others
// after their stores: it looks whether all are there when add() returns.
template <class S>
__global__ void count_missing_sums(PieceMeetings meetings, unsigned* missing) {
  __shared__ alignas(16) unsigned shared[S::shared_words];
  typename S::Sums sums;
  for (int i = 0; i < S::of_thread; ++i) (&sums[0][0][0])[i] = 1;
  if (meetings.add<S::threads>(sums, 2, 1, 1, 0, shared) || threadIdx.x != 0) return;
  const volatile float* const partials = meetings.partials;
  for (int i = 0; i < S::count; ++i) *missing += partials[i] == 1 ? 0 : 1;
}

TEST_P(Conv3dPiecesTest, SaysStoredWhenAllAre) {
  using S = TwoTurns;
  const Buffer<float> partials(DeviceKind::cuda, S::count);
  const Buffer<unsigned> flags(DeviceKind::cuda, std::vector<unsigned>(2, 0));
  count_missing_sums<S><<<1, block_threads>>>({partials.data(), flags.data()}, flags.data() + 1);
  cuda::check_launch();
  EXPECT_EQ(flags.get(), (std::vector<unsigned>{arrival + stored, 0}));
}

}  // namespace
}  // namespace vg::test
