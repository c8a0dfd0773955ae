// The matrix products of the layers with kernel 1, as far as a machine without a GPU goes.
#ifdef VG_WITH_CUBLAS

#include "bench/opponents/cublas_matmul.h"

#include <gtest/gtest.h>

#include "bench/conv_layers.h"

namespace vg::bench {
namespace {

struct Matrix {
  uint64_t rows, columns;
  int64_t leading;
  bool operator==(const Matrix&) const = default;
};

template <class T>
T attribute(const CublasLayout& layout, cublasLtMatrixLayoutAttribute_t name) {
  T value{};
  VG_CHECK_CUBLAS(cublasLtMatrixLayoutGetAttribute(layout.get(), name, &value, sizeof value, nullptr));
  return value;
}

Matrix read(const CublasLayout& layout) {
  return {attribute<uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_ROWS),
          attribute<uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_COLS),
          attribute<int64_t>(layout, CUBLASLT_MATRIX_LAYOUT_LD)};
}

bool transposed(const CublasMatmul& matmul, cublasLtMatmulDescAttributes_t name) {
  cublasOperation_t operation{};
  VG_CHECK_CUBLAS(
      cublasLtMatmulDescGetAttribute(matmul.operation.get(), name, &operation, sizeof operation, nullptr));
  return operation == CUBLAS_OP_T;
}

TEST(CublasTest, ProductsOfEveryPointwiseLayer) {
  int seen = 0;
  for (const ConvLayer& layer : read_conv_layers(VG_BENCH_SHAPES)) {
    if (layer.kernel_size != 1) continue;
    SCOPED_TRACE(layer.name);
    ++seen;
    const auto voxels = static_cast<uint64_t>(layer.batch * layer.d * layer.h * layer.w);
    const auto in = static_cast<uint64_t>(layer.in), out = static_cast<uint64_t>(layer.out);
    // The distance of neighbouring voxels of our views is their channels, as in a column of the matrices.
    const Matrix x{in, voxels, layer.in}, y{out, voxels, layer.out}, weights{in, out, layer.in};
    for (const DType type : {DType::float32, DType::bfloat16}) {
      const auto product = [&](const char* direction) {
        ConvTask task = conv_task(layer, direction);
        task.type = type;
        return cublas_matmul(task);
      };
      const CublasMatmul forward = product("fprop");
      EXPECT_EQ(read(forward.a), weights);
      EXPECT_EQ(read(forward.b), x);
      EXPECT_EQ(read(forward.c), y);
      EXPECT_TRUE(transposed(forward, CUBLASLT_MATMUL_DESC_TRANSA));
      EXPECT_FALSE(transposed(forward, CUBLASLT_MATMUL_DESC_TRANSB));
      const CublasMatmul backward = product("dgrad");
      EXPECT_EQ(read(backward.a), weights);
      EXPECT_EQ(read(backward.b), y);
      EXPECT_EQ(read(backward.c), x);
      EXPECT_FALSE(transposed(backward, CUBLASLT_MATMUL_DESC_TRANSA));
      EXPECT_FALSE(transposed(backward, CUBLASLT_MATMUL_DESC_TRANSB));
      const CublasMatmul gradient = product("wgrad");
      EXPECT_EQ(read(gradient.a), x);
      EXPECT_EQ(read(gradient.b), y);
      EXPECT_EQ(read(gradient.c), weights);
      EXPECT_FALSE(transposed(gradient, CUBLASLT_MATMUL_DESC_TRANSA));
      EXPECT_TRUE(transposed(gradient, CUBLASLT_MATMUL_DESC_TRANSB));
      EXPECT_EQ(attribute<uint32_t>(gradient.c, CUBLASLT_MATRIX_LAYOUT_TYPE), CUDA_R_32F);
      EXPECT_EQ(attribute<uint32_t>(gradient.a, CUBLASLT_MATRIX_LAYOUT_TYPE),
                type == DType::bfloat16 ? CUDA_R_16BF : CUDA_R_32F);
    }
  }
  EXPECT_EQ(seen, 13);
}

TEST(CublasTest, OtherKernelsAreNoProducts) {
  EXPECT_THROW(cublas_matmul(conv_task({"layer", false, 16, 16, 8, 8, 8, 3, 1, {}, 1}, "fprop")),
               std::invalid_argument);
}

TEST(CublasTest, AFailedCallNamesExpressionAndStatus) {
  try {
    VG_CHECK_CUBLAS(
        cublasLtMatrixLayoutGetAttribute(nullptr, CUBLASLT_MATRIX_LAYOUT_ROWS, nullptr, 0, nullptr));
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("cublasLtMatrixLayoutGetAttribute"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("CUBLAS_STATUS_"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace vg::bench

#endif
