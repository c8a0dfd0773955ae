// Pieces of each volume's rows; the pieces' results are combined in their order.
#include "kernels/augment/volumes_impl.h"
#include "kernels/common/parallel.h"
#include "kernels/common/simd.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

// Vectors that one vector of floats sums before the sum goes on in double.
constexpr int64_t vectors_a_sum = 64;

VolumeStatistics row_statistics(const float* row, int64_t width) {
  Vec minimum = broadcast(row[0]);
  double total = 0;
  int64_t w = 0;
  while (w + lanes <= width) {
    const int64_t end = w + vectors_a_sum * lanes < width ? w + vectors_a_sum * lanes : width;
    Vec sum{};
    for (; w + lanes <= end; w += lanes) {
      const Vec v = load(row + w);
      sum += v, minimum = min(v, minimum);
    }
    total += static_cast<double>(horizontal_sum(sum));
  }
  VolumeStatistics result{row[0], total};
  for (int i = 0; i < lanes; ++i) result = combine(result, {minimum[i], 0.0});
  for (; w < width; ++w) result = combine(result, {row[w], static_cast<double>(row[w])});
  return result;
}

}  // namespace

void volume_statistics(VolumeStatistics* results, View<const float> x, const Exec& exec) {
  const int64_t rows = x.d * x.h, pieces = reduction_pieces(rows, 1 + 4096 / x.w);
  WorkspaceScope scope(*exec.workspace);
  auto* const partials = scope.allocate<VolumeStatistics>(static_cast<size_t>(x.n * pieces));
  parallel_for(x.n * pieces, 1, [&](int64_t i) {
    const int64_t first = i / pieces * rows;  // row of this volume
    int64_t row = first + piece_begin(rows, pieces, i % pieces);
    const int64_t end = first + piece_begin(rows, pieces, i % pieces + 1);
    VolumeStatistics result = row_statistics(x.row(row), x.w);
    while (++row < end) result = combine(result, row_statistics(x.row(row), x.w));
    partials[i] = result;
  });
  for (int64_t n = 0; n < x.n; ++n) {
    results[n] = partials[n * pieces];
    for (int64_t i = 1; i < pieces; ++i) results[n] = combine(results[n], partials[n * pieces + i]);
  }
}

}  // namespace vg::kernels::cpu::VG_ISA
