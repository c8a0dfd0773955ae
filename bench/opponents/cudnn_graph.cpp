#include "bench/opponents/cudnn_graph.h"

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <stdexcept>

namespace vg::bench {

namespace {

cudnnDataType_t cudnn_type(DType type) {
  return type == DType::bfloat16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

CudnnDescriptor make_tensor(CudnnTensor id, const std::vector<int64_t>& extents,
                            const std::vector<int64_t>& strides, DType type) {
  CudnnDescriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const cudnnDataType_t data_type = cudnn_type(type);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &data_type)
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, extents)
      .set(CUDNN_ATTR_TENSOR_STRIDES, strides)
      .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, {id})
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, {16})
      .finalise();
  return tensor;
}

CudnnDescriptor make_convolution(const ConvTask& task) {
  CudnnDescriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  const std::vector<int64_t> padding(3, task.padding);
  convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode)
      .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, {3})
      .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, {1, 1, 1})
      .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::vector<int64_t>(3, task.stride))
      .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, padding)
      .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, padding)
      .finalise();
  return convolution;
}

// The names of the same six attributes in the three kinds of operation.
struct OperationNames {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t large, small, weights, convolution, alpha, beta;
};

OperationNames operation_names(ConvPass pass) {
  if (pass == ConvPass::gather)
    return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
  if (pass == ConvPass::scatter)
    return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
}

// True unless the engine multiplies or adds with fewer bits than float (tensor cores: TF32) where the task
// wants float.
bool precise_enough(const CudnnDescriptor& configuration, const ConvTask& task) {
  CudnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.get();
  int64_t count = 0;
  VG_CHECK_CUDNN(cudnnBackendGetAttribute(configuration.get(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &handle));
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  VG_CHECK_CUDNN(cudnnBackendGetAttribute(engine.get(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                          CUDNN_TYPE_NUMERICAL_NOTE, notes.size(), &count, notes.data()));
  return std::none_of(notes.begin(), notes.begin() + count, [&](cudnnBackendNumericalNote_t note) {
    if (note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) return true;
    const bool exact = task.type == DType::float32 && !task.tf32;
    return exact &&
           (note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE || note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS);
  });
}

// What the heuristics of one mode propose.
void append_configurations(std::vector<CudnnDescriptor>& list, const CudnnConvGraph& graph,
                           cudnnBackendHeurMode_t mode, const ConvTask& task, const CudnnDescriptor* device) {
  CudnnDescriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.graph)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (device != nullptr) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *device);
  heuristics.finalise();
  int64_t count = 0;
  VG_CHECK_CUDNN(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr));
  std::vector<CudnnDescriptor> found;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (int64_t i = 0; i < count; ++i) {
    found.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    handles.push_back(found.back().get());
  }
  if (count == 0) return;
  VG_CHECK_CUDNN(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count, handles.data()));
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    if (precise_enough(found[i], task)) list.push_back(std::move(found[i]));
  }
}

}  // namespace

void check_cudnn(cudnnStatus_t status, const char* expression, std::source_location where) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 1024> words{};
  cudnnGetLastErrorString(words.data(), words.size());
  std::ostringstream message;
  message << expression << ": " << cudnnGetErrorString(status) << " (" << words.data() << ") at "
          << where.file_name() << ':' << where.line();
  throw std::runtime_error(message.str());
}

CudnnDescriptor::CudnnDescriptor(cudnnBackendDescriptorType_t type) {
  VG_CHECK_CUDNN(cudnnBackendCreateDescriptor(type, &handle_));
}

CudnnDescriptor::~CudnnDescriptor() {
  if (handle_ == nullptr) return;
  const cudnnStatus_t status = cudnnBackendDestroyDescriptor(handle_);
  if (status != CUDNN_STATUS_SUCCESS)
    std::fprintf(stderr, "cudnnBackendDestroyDescriptor: %s\n", cudnnGetErrorString(status));
}

CudnnDescriptor& CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                      int64_t count, const void* values) {
  VG_CHECK_CUDNN(cudnnBackendSetAttribute(handle_, name, type, count, values));
  return *this;
}

CudnnDescriptor& CudnnDescriptor::set(cudnnBackendAttributeName_t name, const std::vector<int64_t>& values) {
  return set(name, CUDNN_TYPE_INT64, static_cast<int64_t>(values.size()), values.data());
}

CudnnDescriptor& CudnnDescriptor::set(cudnnBackendAttributeName_t name, const CudnnDescriptor& descriptor) {
  const cudnnBackendDescriptor_t handle = descriptor.get();
  return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &handle);
}

CudnnDescriptor& CudnnDescriptor::finalise() {
  VG_CHECK_CUDNN(cudnnBackendFinalize(handle_));
  return *this;
}

int64_t CudnnDescriptor::integer(cudnnBackendAttributeName_t name) const {
  int64_t value = 0, count = 0;
  VG_CHECK_CUDNN(cudnnBackendGetAttribute(handle_, name, CUDNN_TYPE_INT64, 1, &count, &value));
  return value;
}

std::vector<int64_t> CudnnDescriptor::integers(cudnnBackendAttributeName_t name) const {
  std::vector<int64_t> values(8);
  int64_t count = 0;
  VG_CHECK_CUDNN(cudnnBackendGetAttribute(handle_, name, CUDNN_TYPE_INT64, 8, &count, values.data()));
  values.resize(static_cast<size_t>(count));
  return values;
}

CudnnDescriptor cudnn_tensor(CudnnTensor id, const View<const float>& v, DType type) {
  return make_tensor(id, {v.n, v.c, v.d, v.h, v.w}, {v.stride_n, 1, v.stride_d, v.stride_h, v.stride_w},
                     type);
}

CudnnDescriptor cudnn_weight_tensor(const ConvTask& task) {
  const int64_t k = task.kernel_size, c = task.large.c;
  return make_tensor(cudnn_weights, {task.small.c, c, k, k, k}, {k * k * k * c, 1, k * k * c, k * c, c},
                     task.type);
}

CudnnConvGraph cudnn_conv_graph(const ConvTask& task, cudnnHandle_t handle) {
  const OperationNames names = operation_names(task.pass);
  CudnnConvGraph result{cudnn_tensor(cudnn_large, task.large, task.type),
                        cudnn_tensor(cudnn_small, task.small, task.type),
                        cudnn_weight_tensor(task),
                        make_convolution(task),
                        CudnnDescriptor(names.type),
                        CudnnDescriptor(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)};
  const float one = 1, zero = 0;
  result.operation.set(names.large, result.large)
      .set(names.small, result.small)
      .set(names.weights, result.weights)
      .set(names.convolution, result.convolution)
      .set(names.alpha, CUDNN_TYPE_FLOAT, 1, &one)
      .set(names.beta, CUDNN_TYPE_FLOAT, 1, &zero)
      .finalise();
  result.graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, result.operation);
  if (handle != nullptr) result.graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  result.graph.finalise();
  return result;
}

CudnnDescriptor cudnn_described_device(const std::string& json) {
  CudnnDescriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device
      .set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, static_cast<int64_t>(json.size()),
           json.data())
      .finalise();
  return device;
}

std::vector<CudnnDescriptor> cudnn_engine_configurations(const CudnnConvGraph& graph, const ConvTask& task,
                                                         const CudnnDescriptor* device) {
  std::vector<CudnnDescriptor> list;
  append_configurations(list, graph, CUDNN_HEUR_MODE_A, task, device);
  append_configurations(list, graph, CUDNN_HEUR_MODE_FALLBACK, task, device);
  return list;
}

CudnnDescriptor cudnn_plan(const CudnnDescriptor& configuration, cudnnHandle_t handle,
                           const CudnnDescriptor* device) {
  CudnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
  if (handle != nullptr) plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  if (device != nullptr) plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *device);
  plan.finalise();
  return plan;
}

}  // namespace vg::bench
