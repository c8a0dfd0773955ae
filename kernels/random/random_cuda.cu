#include "kernels/common/draws.cuh"
#include "kernels/random/random_impl.h"

namespace vg::kernels::cuda {

namespace {

struct ScaleAndShift {
  float scale, shift;
  __device__ float operator()(float v) const { return fmaf(scale, v, shift); }
};

}  // namespace

void random_uniform(View<float> y, float low, float high, uint64_t seed, uint64_t offset, const Exec& exec) {
  map_draws(exec, UniformDraw{seed, offset}, ScaleAndShift{high - low, low}, y);
}

void random_normal(View<float> y, float mean, float deviation, uint64_t seed, uint64_t offset,
                   const Exec& exec) {
  map_draws(exec, NormalDraw{seed, offset}, ScaleAndShift{deviation, mean}, y);
}

}  // namespace vg::kernels::cuda
