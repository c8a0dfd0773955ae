// Every kind of convolution on tensor cores and its last resort: each of D, H and W with every odd extent,
// and every number of channels. The public functions, so whatever is chosen for these shapes.
#include "support/bfloat16_cases.h"
#include "support/bfloat16_conv_check.h"
#include "support/odd_extents.h"
#include "support/tf32_conv_check.h"

namespace vg::test {
namespace {

using namespace vg::kernels;

#ifdef VOXGRAD_WITH_CUDA

class ConvOddShapesTest : public DeviceTest {
 protected:
  // bfloat16, or float by TF32; volumes dense, and slices within a halo in turn.
  template <class T, class Params>
  void check(const Params& params, int64_t n, const OddExtents& e) {
    const Placement place = ++turn_ % 2 == 0 ? Placement{1, 8, 24} : Placement{};
    if constexpr (std::is_same_v<T, bfloat16>)
      Bfloat16ConvCheck<Params>(params, n, e.d, e.h, e.w, exec(), true).run(place, place);
    else
      Tf32Check<Params>(params, n, e.d, e.h, e.w, exec(), true).run(place, place);
  }
  template <class T, class Params>
  void check_extents(const Params& params) {
    for (const OddExtents& e : odd_extents) check<T>(params, 1, e);
  }

 private:
  int turn_ = 0;
};
VG_ON_CUDA(ConvOddShapesTest);

constexpr Conv3dParams kernel3(int64_t in, int64_t out, int stride = 1) {
  return {in, out, 3, stride, 1};
}
constexpr Conv3dParams kernel1(int64_t in, int64_t out) {
  return {in, out, 1, 1, 0};
}
constexpr ConvTranspose3dParams transposed(int64_t in, int64_t out) {
  return {in, out, 3, 2, 1, 1};
}

// Tiles with halo, matrix products (short rows too), the first layer, the last resort.
TEST_P(ConvOddShapesTest, ExtentsOfKernel3) {
  for (const Conv3dParams& p :
       {kernel3(16, 16), kernel3(80, 16), kernel3(16, 128), kernel3(4, 16), kernel3(3, 5)})
    check_extents<bfloat16>(p);
  check_extents<float>(kernel3(8, 8));
}

TEST_P(ConvOddShapesTest, ExtentsOfStride2) {
  for (const Conv3dParams& p : {kernel3(16, 16, 2), kernel3(32, 64, 2), kernel3(5, 3, 2)})
    check_extents<bfloat16>(p);
  check_extents<float>(kernel3(8, 8, 2));
}

TEST_P(ConvOddShapesTest, ExtentsOfTransposed) {
  for (const ConvTranspose3dParams& p : {transposed(16, 16), transposed(3, 5)}) check_extents<bfloat16>(p);
  check_extents<float>(transposed(8, 8));
}

// Matrix products, few channels, the last resort.
TEST_P(ConvOddShapesTest, ExtentsOfKernel1) {
  for (const Conv3dParams& p : {kernel1(16, 16), kernel1(16, 4), kernel1(3, 5)}) check_extents<bfloat16>(p);
  check_extents<float>(kernel1(8, 8));
}

TEST_P(ConvOddShapesTest, Channels) {
  constexpr OddExtents extents{2, 3, 3};
  for (const OddChannels& c : odd_channels) {
    check<bfloat16>(kernel3(c.in, c.out), 1, extents);
    check<bfloat16>(kernel3(c.in, c.out, 2), 1, extents);
    check<bfloat16>(transposed(c.in, c.out), 1, extents);
    check<bfloat16>(kernel1(c.in, c.out), 1, extents);
    check<float>(kernel3(c.in, c.out), 1, extents);
    check<float>(kernel3(c.in, c.out, 2), 1, extents);
    check<float>(transposed(c.in, c.out), 1, extents);
    check<float>(kernel1(c.in, c.out), 1, extents);
  }
}

#endif

}  // namespace
}  // namespace vg::test
