// Convolutions as operation graphs of cuDNN 9 (its backend descriptors): made, checked and planned without a
// GPU as well, for a device that a JSON text describes.
#pragma once

#include <cudnn.h>

#include <array>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

#include "bench/opponents/conv_opponent.h"

namespace vg::bench {

/// Throws std::runtime_error with expression, status, cuDNN's own words and the place unless it succeeded.
void check_cudnn(cudnnStatus_t status, const char* expression,
                 std::source_location where = std::source_location::current());
#define VG_CHECK_CUDNN(expression) ::vg::bench::check_cudnn((expression), #expression)

/// Owns one backend descriptor. Move-only.
class CudnnDescriptor {
 public:
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type);
  ~CudnnDescriptor();
  CudnnDescriptor(CudnnDescriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  [[nodiscard]] cudnnBackendDescriptor_t get() const { return handle_; }

  /// Attributes are checked by the library when they are set and again by finalise().
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                       const void* values);
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, const std::vector<int64_t>& values);
  CudnnDescriptor& set(cudnnBackendAttributeName_t name, const CudnnDescriptor& descriptor);
  CudnnDescriptor& finalise();
  /// An integer of a finalised descriptor.
  [[nodiscard]] int64_t integer(cudnnBackendAttributeName_t name) const;
  /// Integers of a finalised descriptor, one for each dimension; at most eight.
  [[nodiscard]] std::vector<int64_t> integers(cudnnBackendAttributeName_t name) const;

 private:
  cudnnBackendDescriptor_t handle_ = nullptr;
};

/// Names of the tensors in a graph.
enum CudnnTensor : int64_t { cudnn_large = 1, cudnn_small = 2, cudnn_weights = 3 };

/// [N,C,D,H,W] with the view's strides.
CudnnDescriptor cudnn_tensor(CudnnTensor id, const View<const float>& view, DType type);
/// (small, large, k, k, k), channels-last: the order in which cuDNN's fast kernels want them.
CudnnDescriptor cudnn_weight_tensor(const ConvTask& task);

/// Descriptors that refer to each other and live together.
struct CudnnConvGraph {
  CudnnDescriptor large, small, weights, convolution, operation, graph;
};

/// Finalised: the library has found shapes, strides and types to fit together. The handle is null where there
/// is no GPU.
CudnnConvGraph cudnn_conv_graph(const ConvTask& task, cudnnHandle_t handle);

/// A device that is not here, as CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION takes it.
CudnnDescriptor cudnn_described_device(const std::string& json);

/// Engines with their settings in the order of cuDNN's heuristics (mode A, then its fallbacks), without those
/// that compute with fewer bits than the task asks for. `device`: null for the handle's.
std::vector<CudnnDescriptor> cudnn_engine_configurations(const CudnnConvGraph& graph, const ConvTask& task,
                                                         const CudnnDescriptor* device);

/// A plan, or std::runtime_error if the engine refuses it.
CudnnDescriptor cudnn_plan(const CudnnDescriptor& configuration, cudnnHandle_t handle,
                           const CudnnDescriptor* device);

}  // namespace vg::bench
