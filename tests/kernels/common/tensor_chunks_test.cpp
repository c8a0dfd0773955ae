#include "kernels/common/tensor_chunks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace vg::test {
namespace {

using namespace vg::kernels;

struct Tensor {
  int64_t count;
};

// Every element of every tensor is in exactly one chunk; empty tensors at the ends and in between.
TEST(TensorChunks, CoverEveryElementOnce) {
  const int64_t size = 10;
  const std::vector<std::vector<int64_t>> lists = {
      {}, {0}, {0, 0, 7, 0, 0}, {1, 9, 10, 11, 0, 0, 25, 100, 0}, {30}, {5, 0, 5}};
  for (const auto& counts : lists) {
    std::vector<Tensor> tensors;
    for (const int64_t count : counts) tensors.push_back({count});
    const auto tensor_count = static_cast<int64_t>(tensors.size());
    std::vector<int64_t> first_chunk(tensors.size() + 1, -1);
    index_chunks(first_chunk.data(), tensors.data(), tensor_count, size);
    std::vector<int64_t> covered(tensors.size(), 0);
    for (int64_t chunk = 0; chunk < first_chunk.back(); ++chunk) {
      const auto tensor = static_cast<size_t>(tensor_of_chunk(first_chunk.data(), tensor_count, chunk));
      const int64_t begin = (chunk - first_chunk[tensor]) * size;
      ASSERT_EQ(begin, covered[tensor]);  // in order, without gaps
      ASSERT_LT(begin, counts[tensor]);
      covered[tensor] = std::min(begin + size, counts[tensor]);
    }
    EXPECT_EQ(covered, counts);
  }
}

}  // namespace
}  // namespace vg::test
