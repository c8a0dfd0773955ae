#include "bench/peaks_cuda.h"

#include "kernels/common/launch.cuh"
#include "kernels/common/ptx/matrix.cuh"

namespace vg::bench::cuda {

namespace {

// Independent chains cover the latency of a multiply-add; 256 threads, and blocks enough for four waves of
// the largest GPUs (160 multiprocessors with eight blocks), which leave none idle at the end for long.
constexpr uint32_t ones = 0x3F803F80u;  // two bfloat16 of 1; a little more than 1 as TF32
constexpr int chains = 8, rounds = 4096, threads = 256, blocks = 4 * 160 * 8;

__global__ void __launch_bounds__(threads) fma_kernel(float factor, float term, float* out) {
  float sum[chains];
#pragma unroll
  for (int i = 0; i < chains; ++i) sum[i] = static_cast<float>(threadIdx.x + static_cast<unsigned>(i));
#pragma unroll 4
  for (int r = 0; r < rounds; ++r) {
#pragma unroll
    for (int i = 0; i < chains; ++i) sum[i] = fmaf(sum[i], factor, term);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < chains; ++i) total += sum[i];
  if (out != nullptr) *out = total;  // never, but the compiler cannot know
}

// One mma a chain and round, of operands that all are `bits`.
template <class Mma>
__global__ void __launch_bounds__(threads) mma_kernel(Mma mma, uint32_t bits, float* out) {
  float sum[chains][4] = {};
  const uint32_t a[4] = {bits, bits, bits, bits};
#pragma unroll 4
  for (int r = 0; r < rounds / 16; ++r) {
#pragma unroll
    for (int i = 0; i < chains; ++i) mma(sum[i], a, bits, bits);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < chains; ++i) total += sum[i][0] + sum[i][1] + sum[i][2] + sum[i][3];
  if (out != nullptr) *out = total;
}

struct MmaBf16 {
  static constexpr double flop = 2.0 * 16 * 8 * 16;
  __device__ void operator()(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) const {
    kernels::ptx::mma_m16n8k16(c, a, b0, b1);
  }
};
struct MmaTf32 {
  static constexpr double flop = 2.0 * 16 * 8 * 8;
  __device__ void operator()(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) const {
    kernels::ptx::mma_m16n8k8_tf32(c, a, b0, b1);
  }
};

template <class Mma>
double launch_mma(void* stream) {
  mma_kernel<<<blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(Mma{}, ones, nullptr);
  kernels::cuda::check_launch();
  return 1e-9 * Mma::flop * chains * (rounds / 16) * (threads / 32) * blocks;
}

}  // namespace

double launch_fma(void* stream) {
  fma_kernel<<<blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(0.999f, 0.001f, nullptr);
  kernels::cuda::check_launch();
  return 2e-9 * chains * rounds * static_cast<double>(threads) * blocks;
}
double launch_mma_bf16(void* stream) {
  return launch_mma<MmaBf16>(stream);
}
double launch_mma_tf32(void* stream) {
  return launch_mma<MmaTf32>(stream);
}

}  // namespace vg::bench::cuda
