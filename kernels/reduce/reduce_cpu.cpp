// Sums in double over pieces that the problem alone determines; the pieces' sums are added in their order.
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"
#include "kernels/common/tensor_chunks.h"
#include "kernels/reduce/reduce_impl.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// Elements of a piece: 64 KiB, enough work to hide the hand-out.
constexpr int64_t piece_elements = 16384;

// One register of doubles and the floats that fill it.
constexpr int double_lanes = lanes / 2;
typedef double VecDouble __attribute__((vector_size(double_lanes * sizeof(double))));
typedef float HalfVec __attribute__((vector_size(double_lanes * sizeof(float))));

VG_INLINE VecDouble load_as_double(const float* p) {
  HalfVec v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, VecDouble);
}

// The terms of the sums: of an element, and of a vector of elements.
struct Identity {
  VG_INLINE static double term(float v) { return static_cast<double>(v); }
  VG_INLINE static VecDouble terms(const float* p) { return load_as_double(p); }
};
struct Square {
  VG_INLINE static double term(float v) { return static_cast<double>(v) * static_cast<double>(v); }
  VG_INLINE static VecDouble terms(const float* p) {
    const VecDouble v = load_as_double(p);
    return v * v;
  }
};
// 1 for NaN and infinity: v - v is 0 for every other value.
struct IsNonfinite {
  VG_INLINE static double term(float v) { return v - v == 0 ? 0.0 : 1.0; }
  VG_INLINE static VecDouble terms(const float* p) {
    const VecDouble v = load_as_double(p), zero{};
    return v - v == zero ? zero : zero + 1;
  }
};

// The sum of the terms of p[0, count), in four registers of partial sums: the additions of one would wait for
// each other.
template <class Term>
VG_INLINE double sum_run(const float* p, int64_t count) {
  VecDouble sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * double_lanes <= count; i += 4 * double_lanes) {
    for (int k = 0; k < 4; ++k) sums[k] += Term::terms(p + i + k * double_lanes);
  }
  const VecDouble all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double sum = 0;
  for (int lane = 0; lane < double_lanes; ++lane) sum += all[lane];
  for (; i < count; ++i) sum += Term::term(p[i]);
  return sum;
}

// Calls body(pointer, voxels) for runs of voxels along w that cover voxels [begin, end) of x in order.
template <class Body>
VG_INLINE void for_each_run(const View<const float>& x, int64_t begin, int64_t end, const Body& body) {
  while (begin < end) {
    const int64_t first = begin % x.w, left = x.w - first;
    const int64_t voxels = left < end - begin ? left : end - begin;
    body(x.row(begin / x.w) + first * x.stride_w, voxels);
    begin += voxels;
  }
}

// The pieces of a reduction over the voxels of x.
int64_t pieces_of(const View<const float>& x) {
  const int64_t voxels = x.c == 0 ? 1 : (piece_elements + x.c - 1) / x.c;
  return reduction_pieces(x.voxels(), voxels, 1024);
}

template <class Term>
double sum_view(const View<const float>& x, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  const int64_t pieces = pieces_of(x);
  double* const partials = scope.allocate<double>(static_cast<size_t>(pieces));
  parallel_for(pieces, 1, [&](int64_t piece) {
    double sum = 0;
    for_each_run(x, piece_begin(x.voxels(), pieces, piece), piece_begin(x.voxels(), pieces, piece + 1),
                 [&](const float* p, int64_t voxels) {
                   if (x.rows_contiguous()) {
                     sum += sum_run<Term>(p, voxels * x.c);
                   } else {
                     for (int64_t w = 0; w < voxels; ++w) sum += sum_run<Term>(p + w * x.stride_w, x.c);
                   }
                 });
    partials[piece] = sum;
  });
  double sum = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) sum += partials[piece];
  return sum;
}

// Four channels: a vector that suits few channels too.
constexpr int channel_lanes = 4;
typedef double ChannelSums __attribute__((vector_size(channel_lanes * sizeof(double))));
typedef float Channels __attribute__((vector_size(channel_lanes * sizeof(float))));

// sums[0, 4 * Count) += the voxels' channels, kept in registers over the run.
template <int Count>
VG_INLINE void add_channel_vectors(double* sums, const float* p, int64_t voxels, int64_t stride) {
  ChannelSums local[Count];
  std::memcpy(local, sums, sizeof local);
  for (int64_t w = 0; w < voxels; ++w) {
    for (int k = 0; k < Count; ++k) {
      Channels v;
      std::memcpy(&v, p + w * stride + k * channel_lanes, sizeof v);
      local[k] += __builtin_convertvector(v, ChannelSums);
    }
  }
  std::memcpy(sums, local, sizeof local);
}

// sums[c] += x[..., c] over a run of voxels, block by block of channels. A run fits into a cache, so memory
// is read once.
VG_INLINE void add_channels(double* sums, const float* p, int64_t voxels, int64_t stride, int64_t channels) {
  int64_t c = 0;
  for (; c + 32 <= channels; c += 32) add_channel_vectors<8>(sums + c, p + c, voxels, stride);
  for (; c + 16 <= channels; c += 16) add_channel_vectors<4>(sums + c, p + c, voxels, stride);
  for (; c + 4 <= channels; c += 4) add_channel_vectors<1>(sums + c, p + c, voxels, stride);
  for (; c < channels; ++c) {
    double sum = sums[c];
    for (int64_t w = 0; w < voxels; ++w) sum += static_cast<double>(p[w * stride + c]);
    sums[c] = sum;
  }
}

}  // namespace

void reduce_sum(float* out, View<const float> x, const Exec& exec) {
  *out = static_cast<float>(sum_view<Identity>(x, exec));
}

void count_nonfinite(int64_t* count, View<const float> x, const Exec& exec) {
  *count = static_cast<int64_t>(sum_view<IsNonfinite>(x, exec));
}

void reduce_channels(float* out, View<const float> x, const Exec& exec) {
  if (x.c == 1) {
    *out += static_cast<float>(sum_view<Identity>(x, exec));
    return;
  }
  WorkspaceScope scope(*exec.workspace);
  const int64_t pieces = pieces_of(x);
  double* const partials = scope.allocate<double>(static_cast<size_t>(pieces * x.c));
  parallel_for(pieces, 1, [&](int64_t piece) {
    double* const sums = partials + piece * x.c;
    for (int64_t c = 0; c < x.c; ++c) sums[c] = 0;
    for_each_run(x, piece_begin(x.voxels(), pieces, piece), piece_begin(x.voxels(), pieces, piece + 1),
                 [&](const float* p, int64_t voxels) { add_channels(sums, p, voxels, x.stride_w, x.c); });
  });
  for (int64_t c = 0; c < x.c; ++c) {
    double sum = 0;
    for (int64_t piece = 0; piece < pieces; ++piece) sum += partials[piece * x.c + c];
    out[c] += static_cast<float>(sum);
  }
}

void global_norm(float* out, const FlatTensor* tensors, int64_t tensor_count, const Exec& exec) {
  WorkspaceScope scope(*exec.workspace);
  int64_t* const first_chunk = scope.allocate<int64_t>(static_cast<size_t>(tensor_count + 1));
  index_chunks(first_chunk, tensors, tensor_count, piece_elements);
  const int64_t chunks = first_chunk[tensor_count];
  double* const partials = scope.allocate<double>(static_cast<size_t>(chunks));
  parallel_for(chunks, 1, [&](int64_t chunk) {
    const int64_t index = tensor_of_chunk(first_chunk, tensor_count, chunk);
    const int64_t begin = (chunk - first_chunk[index]) * piece_elements;
    const int64_t left = tensors[index].count - begin;
    partials[chunk] =
        sum_run<Square>(tensors[index].data + begin, left < piece_elements ? left : piece_elements);
  });
  double sum = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partials[chunk];
  *out = static_cast<float>(__builtin_sqrt(sum));
}

void clip_scale(float* scale, const float* norm, float max_norm, const Exec&) {
  *scale = clip_factor(*norm, max_norm);
}

}  // namespace vg::kernels::cpu::VG_ISA
