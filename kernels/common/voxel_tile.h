// Ops that look at the channels of one voxel together (softmax and the losses): `lanes` voxels are taken at a
// time and turned round, so that one vector holds one channel of all of them. For *_cpu.cpp.
#pragma once

#include <utility>

#include "kernels/common/exec.h"
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"

namespace vg::kernels::cpu::VG_ISA {

/// The even (Odd = 0) or odd (Odd = 1) elements of `a` and then of `b`.
template <int Odd, size_t... I>
VG_INLINE Vec every_second(Vec a, Vec b, std::index_sequence<I...>) {
  return __builtin_shufflevector(a, b, (2 * static_cast<int>(I) + Odd)...);
}
/// The first (High = 0) or second (High = 1) half of a[0], b[0], a[1], b[1], ...
template <int High, size_t... I>
VG_INLINE Vec interleave(Vec a, Vec b, std::index_sequence<I...>) {
  return __builtin_shufflevector(
      a, b, (High * lanes / 2 + static_cast<int>(I) / 2 + (static_cast<int>(I) % 2) * lanes)...);
}
using LaneSequence = std::make_index_sequence<static_cast<size_t>(lanes)>;

/// x[c] = channel c of `count` <= lanes voxels at p, p + stride, ...; the other lanes are 0. `Channels` is
/// the number of channels if it is known at compile time, else 0.
template <int Channels>
VG_INLINE void load_tile(Vec* x, const float* p, int64_t stride, int64_t channels, int64_t count) {
  constexpr LaneSequence all{};
  if (count == lanes && stride == Channels) {
    if constexpr (Channels == 1) {
      x[0] = load(p);
      return;
    } else if constexpr (Channels == 2) {
      const Vec a = load(p), b = load(p + lanes);
      x[0] = every_second<0>(a, b, all), x[1] = every_second<1>(a, b, all);
      return;
    } else if constexpr (Channels == 4) {
      const Vec a = load(p), b = load(p + lanes), c = load(p + 2 * lanes), d = load(p + 3 * lanes);
      const Vec even_ab = every_second<0>(a, b, all), even_cd = every_second<0>(c, d, all);
      const Vec odd_ab = every_second<1>(a, b, all), odd_cd = every_second<1>(c, d, all);
      x[0] = every_second<0>(even_ab, even_cd, all), x[2] = every_second<1>(even_ab, even_cd, all);
      x[1] = every_second<0>(odd_ab, odd_cd, all), x[3] = every_second<1>(odd_ab, odd_cd, all);
      return;
    }
  }
#pragma GCC unroll 4
  for (int64_t c = 0; c < (Channels > 0 ? Channels : channels); ++c) {
    float values[lanes] = {};
    if (count == lanes) {
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) values[i] = p[i * stride + c];
    } else {
      for (int64_t i = 0; i < count; ++i) values[i] = p[i * stride + c];
    }
    x[c] = load(values);
  }
}

/// The inverse of load_tile: writes `count` voxels.
template <int Channels>
VG_INLINE void store_tile(float* p, int64_t stride, const Vec* x, int64_t channels, int64_t count) {
  constexpr LaneSequence all{};
  if (count == lanes && stride == Channels) {
    if constexpr (Channels == 1) {
      store(p, x[0]);
      return;
    } else if constexpr (Channels == 2) {
      store(p, interleave<0>(x[0], x[1], all)), store(p + lanes, interleave<1>(x[0], x[1], all));
      return;
    } else if constexpr (Channels == 4) {
      const Vec even_ab = interleave<0>(x[0], x[2], all), even_cd = interleave<1>(x[0], x[2], all);
      const Vec odd_ab = interleave<0>(x[1], x[3], all), odd_cd = interleave<1>(x[1], x[3], all);
      store(p, interleave<0>(even_ab, odd_ab, all)), store(p + lanes, interleave<1>(even_ab, odd_ab, all));
      store(p + 2 * lanes, interleave<0>(even_cd, odd_cd, all));
      store(p + 3 * lanes, interleave<1>(even_cd, odd_cd, all));
      return;
    }
  }
#pragma GCC unroll 4
  for (int64_t c = 0; c < (Channels > 0 ? Channels : channels); ++c) {
    float values[lanes];
    store(values, x[c]);
    if (count == lanes) {
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) p[i * stride + c] = values[i];
    } else {
      for (int64_t i = 0; i < count; ++i) p[i * stride + c] = values[i];
    }
  }
}

typedef uint8_t VecByte __attribute__((vector_size(lanes)));

/// `count` bytes at p, p + stride, ... as integers; the other lanes are -1.
VG_INLINE VecInt load_bytes(const uint8_t* p, int64_t stride, int64_t count) {
  if (count == lanes && stride == 1) {
    VecByte bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    return __builtin_convertvector(bytes, VecInt);
  }
  VecInt v = VecInt{} - 1;
  for (int64_t i = 0; i < count; ++i) v[i] = p[i * stride];
  return v;
}

/// Writes the low bytes of the first `count` lanes.
VG_INLINE void store_bytes(uint8_t* p, int64_t stride, VecInt v, int64_t count) {
  if (count == lanes && stride == 1) {
    const VecByte bytes = __builtin_convertvector(v, VecByte);
    std::memcpy(p, &bytes, sizeof bytes);
    return;
  }
  for (int64_t i = 0; i < count; ++i) p[i * stride] = static_cast<uint8_t>(v[i]);
}

/// 0, 1, 2, ...
template <size_t... I>
VG_INLINE VecInt lane_indices(std::index_sequence<I...>) {
  return VecInt{static_cast<int32_t>(I)...};
}
/// x with the lanes from `count` on set to 0.
VG_INLINE Vec keep_first(Vec x, int64_t count) {
  return lane_indices(LaneSequence{}) < static_cast<int32_t>(count) ? x : Vec{};
}
/// The lanes added in double, in a fixed order.
VG_INLINE double sum_in_double(Vec x) {
  double sum = 0;
  for (int i = 0; i < lanes; ++i) sum += static_cast<double>(x[i]);
  return sum;
}

/// True if the voxels of one sample are evenly spaced in memory.
template <class T>
VG_INLINE bool evenly_spaced(const View<T>& v) {
  return (v.h == 1 || v.stride_h == v.w * v.stride_w) && (v.d == 1 || v.stride_d == v.h * v.w * v.stride_w);
}
/// Makes each sample one row of all views if all of them allow it: long rows leave fewer incomplete tiles.
template <class... T>
VG_INLINE void join_rows(View<T>&... views) {
  if (!(evenly_spaced(views) && ...)) return;
  (..., (views.w *= views.d * views.h, views.d = views.h = 1));
}

/// The first voxel of a tile.
struct TilePosition {
  int64_t n, d, h, w;
  template <class T>
  VG_INLINE T* in(const View<T>& view) const {
    return view.at(n, d, h, w);
  }
};

/// Voxels worth a thread: some microseconds of work.
inline constexpr int64_t smallest_piece = 4096;

/// Pieces into which a sample's voxels are cut for parallel loops and reductions: a function of the problem.
VG_INLINE int64_t pieces_of_sample(int64_t voxels) {
  return reduction_pieces(voxels, smallest_piece);
}
template <class T>
VG_INLINE int64_t pieces_of_sample(const View<T>& view) {
  return pieces_of_sample(view.d * view.h * view.w);
}

/// Calls body(position, voxels) for the tiles of at most `lanes` voxels of one row that make up a piece of
/// `view`; piece i belongs to sample i / pieces_of_sample(view).
template <class T, class Body>
VG_INLINE void for_each_tile(const View<T>& view, int64_t piece, const Body& body) {
  const int64_t voxels = view.d * view.h * view.w, pieces = pieces_of_sample(voxels);
  const int64_t end = piece_begin(voxels, pieces, piece % pieces + 1);
  int64_t begin = piece_begin(voxels, pieces, piece % pieces);
  while (begin < end) {
    const int64_t row = begin / view.w, first = begin % view.w;
    const int64_t limit = view.w < first + end - begin ? view.w : first + end - begin;
    for (int64_t w = first; w < limit; w += lanes) {
      body(TilePosition{piece / pieces, row / view.h, row % view.h, w},
           limit - w < lanes ? limit - w : int64_t{lanes});
    }
    begin += limit - first;
  }
}

/// A channel count known at compile time, which keeps a tile in registers, or 0 for any other.
template <int Count>
struct KnownChannels {
  static constexpr int value = Count;
};

/// Calls body(KnownChannels<>, scratch, piece) for all pieces of all samples of `view`, in parallel.
/// `scratch` holds tiles * channels vectors for the piece alone, unless the channels are known at compile
/// time.
template <class T, class Body>
void for_each_piece(const View<T>& view, int64_t tiles, const Exec& exec, const Body& body) {
  const int64_t pieces = view.n * pieces_of_sample(view);
  const auto run = [&](auto channels) {
    const int64_t vectors = channels.value > 0 ? 0 : tiles * view.c;
    WorkspaceScope scope(*exec.workspace);
    Vec* const scratch = scope.allocate<Vec>(static_cast<size_t>(pieces * vectors));
    const int64_t grain = view.voxels() > smallest_piece ? 1 : pieces;  // small problems stay on one thread
    parallel_for(pieces, grain, [&](int64_t piece) { body(channels, scratch + piece * vectors, piece); });
  };
  switch (view.c) {
    case 1:
      return run(KnownChannels<1>{});
    case 2:
      return run(KnownChannels<2>{});
    case 3:
      return run(KnownChannels<3>{});
    case 4:
      return run(KnownChannels<4>{});
    default:
      return run(KnownChannels<0>{});
  }
}

}  // namespace vg::kernels::cpu::VG_ISA
