#include <gtest/gtest.h>

#include <sgd/dampening.h>
#include <cmath>

namespace exercise::sgd {
namespace {

// p and b after each of three steps of torch.optim.SGD(lr=0.1, momentum=0.9, dampening=0.5), gradients 1, -2,
// 0.5.
TEST(SgdDampening, ThreeStepsMatchPyTorch) {
  double parameter[2] = {1, 1}, buffer[2] = {NAN, 1e9};
  const double gradients[3] = {1, -2, 0.5}, buffers[3] = {1, -0.1, 0.16}, parameters[3] = {0.9, 0.91, 0.894};
  for (int step = 0; step < 3; ++step) {
    const double gradient[2] = {gradients[step], gradients[step]};
    sgd_dampening(parameter, buffer, gradient, 2, 0.1, 0.9, 0.5, step == 0);
    for (int i = 0; i < 2; ++i) {
      EXPECT_NEAR(buffer[i], buffers[step], 1e-12) << "buffer, step " << step;
      EXPECT_NEAR(parameter[i], parameters[step], 1e-12) << "parameter, step " << step;
    }
  }
}

}  // namespace
}  // namespace exercise::sgd
