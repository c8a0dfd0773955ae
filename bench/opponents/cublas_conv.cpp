#include <algorithm>
#include <array>
#include <cstdio>
#include <sstream>
#include <stdexcept>

#include "bench/harness.h"
#include "bench/opponents/cublas_matmul.h"
#include "bench/opponents/device_buffers.h"
#include "bench/opponents/libraries.h"

namespace vg::bench {

namespace {

constexpr size_t workspace_bytes = size_t{64} << 20;  // more than any of its kernels asks for
constexpr int most_algorithms = 32;

cudaDataType_t cuda_type(DType type) {
  return type == DType::bfloat16 ? CUDA_R_16BF : CUDA_R_32F;
}

CublasLayout make_layout(DType type, int64_t rows, int64_t columns) {
  CublasLayout layout;
  VG_CHECK_CUBLAS(cublasLtMatrixLayoutCreate(layout.address(), cuda_type(type), static_cast<uint64_t>(rows),
                                             static_cast<uint64_t>(columns), rows));
  return layout;
}

class CublasConv : public Opponent {
 public:
  explicit CublasConv(const ConvTask& task) : task_(task), matmul_(cublas_matmul(task)) {
    VG_CHECK_CUBLAS(cublasLtCreate(library_.address()));
    // The gradient of the weights is float, as ours.
    const DType weight_type = task.pass == ConvPass::weights ? DType::float32 : task.type;
    for (int i = 0; i < task.sets; ++i)
      sets_.push_back({device_array(task.large.data, task.large.elements(), task.type),
                       device_array(task.small.data, task.small.elements(), task.type),
                       device_array(task.weights, task.weight_count(), weight_type)});
    workspace_ = device_bytes(workspace_bytes);
    choose_algorithm();
  }
  std::string name() const override { return "cuBLASLt"; }
  void run(int set) override { run_with(algorithm_, set); }
  std::vector<float> result() override {
    const DeviceOperands& set = sets_.front();
    if (task_.pass == ConvPass::weights) return host_values(set.weights);
    return host_values(task_.pass == ConvPass::gather ? set.small : set.large);
  }

 private:
  using Library = CublasOwner<cublasLtHandle_t, cublasLtDestroy>;
  using Preference = CublasOwner<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

  void run_with(const cublasLtMatmulAlgo_t& algorithm, int index) {
    const DeviceOperands& set = sets_[static_cast<size_t>(index)];
    const bool weights = task_.pass == ConvPass::weights, gather = task_.pass == ConvPass::gather;
    const void* a = address(weights ? set.large : set.weights);
    const void* b = address(weights || !gather ? set.small : set.large);
    void* c = address(weights ? set.weights : (gather ? set.small : set.large));
    const float one = 1, zero = 0;
    VG_CHECK_CUBLAS(cublasLtMatmul(library_.get(), matmul_.operation.get(), &one, a, matmul_.a.get(), b,
                                   matmul_.b.get(), &zero, c, matmul_.c.get(), c, matmul_.c.get(), &algorithm,
                                   workspace_.data<uint8_t>(), workspace_bytes,
                                   static_cast<cudaStream_t>(Context::get().exec(Device::cuda).stream)));
  }
  // The fastest of what the heuristics propose.
  void choose_algorithm() {
    Preference preference;
    VG_CHECK_CUBLAS(cublasLtMatmulPreferenceCreate(preference.address()));
    VG_CHECK_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference.get(),
                                                         CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                         &workspace_bytes, sizeof workspace_bytes));
    std::array<cublasLtMatmulHeuristicResult_t, most_algorithms> proposals{};
    int count = 0;
    VG_CHECK_CUBLAS(cublasLtMatmulAlgoGetHeuristic(
        library_.get(), matmul_.operation.get(), matmul_.a.get(), matmul_.b.get(), matmul_.c.get(),
        matmul_.c.get(), preference.get(), most_algorithms, proposals.data(), &count));
    double best = 0;
    for (int i = 0; i < count; ++i) {
      const cublasLtMatmulHeuristicResult_t& proposal = proposals[static_cast<size_t>(i)];
      if (proposal.state != CUBLAS_STATUS_SUCCESS) continue;
      const double seconds =
          measure_on(
              Device::cuda, [&](int run) { run_with(proposal.algo, run % task_.sets); }, 1, 3)
              .median;
      if (best > 0 && seconds >= best) continue;
      best = seconds;
      algorithm_ = proposal.algo;
    }
    if (best == 0) throw std::runtime_error("cuBLASLt has no algorithm for this product");
  }

  ConvTask task_;
  CublasMatmul matmul_;
  Library library_;
  std::vector<DeviceOperands> sets_;
  Tensor workspace_;
  cublasLtMatmulAlgo_t algorithm_{};
};

}  // namespace

void check_cublas(cublasStatus_t status, const char* expression, std::source_location where) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  std::ostringstream message;
  message << expression << ": " << cublasLtGetStatusName(status) << " (" << cublasLtGetStatusString(status)
          << ") at " << where.file_name() << ':' << where.line();
  throw std::runtime_error(message.str());
}

CublasMatmul cublas_matmul(const ConvTask& task) {
  if (task.kernel_size != 1 || task.stride != 1)
    throw std::invalid_argument("cuBLASLt: only convolutions with kernel 1 and stride 1 are matrix products");
  CublasMatmul result;
  const cublasComputeType_t sums = task.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  VG_CHECK_CUBLAS(cublasLtMatmulDescCreate(result.operation.address(), sums, CUDA_R_32F));
  const cublasOperation_t transpose = CUBLAS_OP_T;
  if (task.pass != ConvPass::scatter)
    VG_CHECK_CUBLAS(cublasLtMatmulDescSetAttribute(
        result.operation.get(),
        task.pass == ConvPass::gather ? CUBLASLT_MATMUL_DESC_TRANSA : CUBLASLT_MATMUL_DESC_TRANSB, &transpose,
        sizeof transpose));
  const auto large = [&] { return make_layout(task.type, task.large.c, task.large.voxels()); };
  const auto small = [&] { return make_layout(task.type, task.small.c, task.small.voxels()); };
  const auto weights = [&](DType type) { return make_layout(type, task.large.c, task.small.c); };
  switch (task.pass) {
    case ConvPass::gather:
      result.a = weights(task.type), result.b = large(), result.c = small();
      break;
    case ConvPass::scatter:
      result.a = weights(task.type), result.b = small(), result.c = large();
      break;
    case ConvPass::weights:
      result.a = large(), result.b = small(), result.c = weights(DType::float32);
      break;
  }
  return result;
}

std::string cublas_version() {
  const size_t version = cublasLtGetVersion();  // 130100 is 13.1.0
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

std::vector<std::unique_ptr<Opponent>> make_conv_opponents_cublas(const ConvTask& task,
                                                                  std::string& why_not) {
  std::vector<std::unique_ptr<Opponent>> opponents;
  if (task.kernel_size != 1 || task.stride != 1) {
    why_not = "cuBLASLt: no matrix product (kernel 1 with stride 1 alone)";
    return opponents;
  }
  try {
    opponents.push_back(std::make_unique<CublasConv>(task));
  } catch (const std::exception& error) {
    why_not = error.what();
  }
  return opponents;
}

}  // namespace vg::bench
