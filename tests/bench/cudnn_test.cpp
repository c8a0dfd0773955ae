// cuDNN's graphs as far as a machine without a GPU goes: descriptors against our own views, operations and
// graphs validated by the library for every layer and direction of the shape file, and plans for a GPU that
// is only described.
#ifdef VG_WITH_CUDNN

#include "bench/opponents/cudnn_graph.h"

#include <gtest/gtest.h>

#include "bench/conv_layers.h"
#include "engine/tensor.h"

namespace vg::bench {
namespace {

using Integers = std::vector<int64_t>;

// An H100 (SXM, 80 GB).
const char* const described_gpu = R"({"deviceName":"NVIDIA H100","deviceVer":900,"driverVer":13000,
  "cudaDeviceId":0,"pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,"multiProcessorCount":132,
  "warpSize":32,"regsPerBlock":65536,"maxRegistersPerSM":65536,"maxCtasPerSM":32,"maxThreadsPerBlock":1024,
  "maxThreadsPerSM":2048,"maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":232448,
  "reservedSharedMemoryPerBlock":1024,"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],
  "totalGlobalMem":85029158912,"smClockRateKHz":1980000,"memClockRateKHz":2619000,"l2CacheSize":52428800})";

std::vector<ConvTask> tasks_of(const ConvLayer& layer) {
  std::vector<ConvTask> tasks;
  for (const std::string& direction : layer.directions) {
    for (const DType type : {DType::float32, DType::bfloat16}) {
      ConvTask task = conv_task(layer, direction);
      task.type = type;
      tasks.push_back(task);
    }
  }
  return tasks;
}

TEST(CudnnTest, TensorsAreOurViewsForEveryLayer) {
  for (const ConvLayer& layer : read_conv_layers(VG_BENCH_SHAPES)) {
    SCOPED_TRACE(layer.name);
    for (const ConvTask& task : tasks_of(layer)) {
      // An activation on CUDA is such a view (no halo); here without memory.
      const auto x =
          kernels::contiguous_view<const float>(nullptr, layer.batch, layer.d, layer.h, layer.w, layer.in);
      const CudnnDescriptor tensor = cudnn_tensor(layer.transposed ? cudnn_small : cudnn_large,
                                                  layer.transposed ? task.small : task.large, task.type);
      EXPECT_EQ(tensor.integers(CUDNN_ATTR_TENSOR_DIMENSIONS), (Integers{x.n, x.c, x.d, x.h, x.w}));
      EXPECT_EQ(tensor.integers(CUDNN_ATTR_TENSOR_STRIDES),
                (Integers{x.stride_n, 1, x.stride_d, x.stride_h, x.stride_w}));
      const int64_t k = layer.kernel_size, c = task.large.c;
      const CudnnDescriptor weights = cudnn_weight_tensor(task);
      EXPECT_EQ(weights.integers(CUDNN_ATTR_TENSOR_DIMENSIONS), (Integers{task.small.c, c, k, k, k}));
      EXPECT_EQ(weights.integers(CUDNN_ATTR_TENSOR_STRIDES),
                (Integers{k * k * k * c, 1, k * k * c, k * c, c}));
    }
  }
}

TEST(CudnnTest, StridesOfAHaloAndOfAChannelSliceArrive) {
  const Tensor x = Tensor::activation(2, 3, 4, 5, 8, Device::cpu);
  const View<const float> slice = x.view<const float>().channels(2, 6);
  const CudnnDescriptor tensor = cudnn_tensor(cudnn_large, slice, DType::float32);
  EXPECT_EQ(tensor.integers(CUDNN_ATTR_TENSOR_DIMENSIONS), (Integers{2, 4, 3, 4, 5}));
  EXPECT_EQ(tensor.integers(CUDNN_ATTR_TENSOR_STRIDES), (Integers{5 * 6 * 7 * 8, 1, 6 * 7 * 8, 7 * 8, 8}));
}

TEST(CudnnTest, GraphsOfEveryLayerAreValid) {
  for (const ConvLayer& layer : read_conv_layers(VG_BENCH_SHAPES)) {
    for (const ConvTask& task : tasks_of(layer)) {
      SCOPED_TRACE(layer.name + " pass " + std::to_string(static_cast<int>(task.pass)));
      EXPECT_NO_THROW(cudnn_conv_graph(task, nullptr));
    }
  }
}

TEST(CudnnTest, AWrongShapeIsRefusedWithTheLibrarysWords) {
  ConvTask task = conv_task({"layer", false, 16, 16, 8, 8, 8, 3, 1, {}, 1}, "fprop");
  task.small.w = 7;
  try {
    cudnn_conv_graph(task, nullptr);
    FAIL() << "accepted";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("CUDNN_STATUS_BAD_PARAM"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("cudnnBackendFinalize"), std::string::npos) << error.what();
  }
}

TEST(CudnnTest, PlansForADescribedGpu) {
  const CudnnDescriptor device = cudnn_described_device(described_gpu);
  ConvLayer layer{"layer", false, 32, 32, 56, 64, 40, 3, 1, {"fprop", "dgrad", "wgrad"}, 1};
  for (const ConvTask& task : tasks_of(layer)) {
    const CudnnConvGraph graph = cudnn_conv_graph(task, nullptr);
    const auto configurations = cudnn_engine_configurations(graph, task, &device);
    ASSERT_FALSE(configurations.empty());
    int planned = 0;
    std::string refusal;
    for (const CudnnDescriptor& configuration : configurations) {
      try {
        const CudnnDescriptor plan = cudnn_plan(configuration, nullptr, &device);
        EXPECT_GE(plan.integer(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE), 0);
        ++planned;
        break;
      } catch (const std::runtime_error& error) {  // this engine does not take it
        refusal = error.what();
      }
    }
    EXPECT_EQ(planned, 1) << refusal;
  }
}

TEST(CudnnTest, Float32LeavesOutEnginesOfTensorCores) {
  const CudnnDescriptor device = cudnn_described_device(described_gpu);
  ConvTask task = conv_task({"layer", false, 32, 32, 56, 64, 40, 3, 1, {}, 1}, "fprop");
  const CudnnConvGraph graph = cudnn_conv_graph(task, nullptr);
  const size_t exact = cudnn_engine_configurations(graph, task, &device).size();
  task.tf32 = true;
  EXPECT_LT(exact, cudnn_engine_configurations(graph, task, &device).size());
}

}  // namespace
}  // namespace vg::bench

#endif
