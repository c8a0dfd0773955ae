// Convolutions with kernel 1 as matrix products of cuBLASLt.
#pragma once

#include <cublasLt.h>

#include <source_location>
#include <string>
#include <utility>

#include "bench/opponents/conv_opponent.h"

namespace vg::bench {

/// Throws std::runtime_error with expression, status and place unless it succeeded.
void check_cublas(cublasStatus_t status, const char* expression,
                  std::source_location where = std::source_location::current());
#define VG_CHECK_CUBLAS(expression) ::vg::bench::check_cublas((expression), #expression)

/// Owns a cuBLASLt object. Move-only.
template <class Handle, auto Destroy>
class CublasOwner {
 public:
  CublasOwner() = default;
  ~CublasOwner() {
    if (handle_ != nullptr) Destroy(handle_);
  }
  CublasOwner(CublasOwner&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  CublasOwner& operator=(CublasOwner&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  [[nodiscard]] Handle get() const { return handle_; }
  [[nodiscard]] Handle* address() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};
using CublasLayout = CublasOwner<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using CublasOperation = CublasOwner<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;

/// c = op(a) op(b) in cuBLAS's column order, where a channels-last volume is a matrix of channels x voxels
/// and the weights [small][large] are large x small:
///   gather   small   = weights^T large
///   scatter  large   = weights small
///   weights  dweight = large small^T
struct CublasMatmul {
  CublasOperation operation;
  CublasLayout a, b, c;
};

/// Needs no GPU. Throws std::invalid_argument unless the task's kernel is 1 with stride 1.
CublasMatmul cublas_matmul(const ConvTask& task);

}  // namespace vg::bench
