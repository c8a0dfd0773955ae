#include <conv3d/input_gradient.h>
#include <gtest/gtest.h>

#include "exercises/support/volume.h"
#include "support/random_data.h"

namespace exercise::conv3d {
namespace {

/// Calls f(output voxel, input voxel, tap) for all pairs that kernel 3, stride 1, padding 1 connects.
template <class Function>
void for_each_product(const Volume& v, const Function& f) {
  v.for_each_voxel([&](int d, int h, int w) {
    for (int kd = 0; kd < 3; ++kd) {
      for (int kh = 0; kh < 3; ++kh) {
        for (int kw = 0; kw < 3; ++kw) {
          const int z = d - 1 + kd, y = h - 1 + kh, x = w - 1 + kw;
          if (v.inside(z, y, x)) f(v.voxel(d, h, w), v.voxel(z, y, x), (kd * 3 + kh) * 3 + kw);
        }
      }
    }
  });
}

/// y = convolve(x, w).
Volume convolve(const Volume& x, const std::vector<float>& w, int out) {
  Volume y(x.depth, x.height, x.width, out);
  for_each_product(x, [&](int to, int from, int tap) {
    for (int o = 0; o < out; ++o) {
      for (int i = 0; i < x.channels; ++i)
        y.at(to, o) += w[static_cast<size_t>((o * x.channels + i) * 27 + tap)] * x.at(from, i);
    }
  });
  return y;
}

/// The definition: each product w x of the forward pass sends w dy back to its x.
Volume scattered_gradient(const Volume& dy, const std::vector<float>& w, int in) {
  Volume dx(dy.depth, dy.height, dy.width, in);
  for_each_product(dy, [&](int to, int from, int tap) {
    for (int o = 0; o < dy.channels; ++o) {
      for (int i = 0; i < in; ++i)
        dx.at(from, i) += w[static_cast<size_t>((o * in + i) * 27 + tap)] * dy.at(to, o);
    }
  });
  return dx;
}

void check(int depth, int height, int width, int in, int out, const std::vector<float>& w) {
  Volume dy(depth, height, width, out);
  dy.values = vg::test::integers(static_cast<int64_t>(dy.values.size()), 2);
  const std::vector<float> v = input_gradient_weights(w, out, in);
  ASSERT_EQ(v.size(), w.size()) << "as many weights as before, in another order";
  EXPECT_EQ(convolve(dy, v, in).values, scattered_gradient(dy, w, in).values);
}

TEST(Conv3dInputGradient, OneChannelWithAnAsymmetricKernel) {
  std::vector<float> w(27, 0);
  w[26] = 1;  // y[z] = x[z + 1]: the gradient moves the other way
  SCOPED_TRACE(
      "the kernel has one tap, (2, 2, 2): y[z] = x[z + (1, 1, 1)], so dx[u] = dy[u - (1, 1, 1)]: "
      "which tap must v have?");
  check(3, 3, 3, 1, 1, w);
}

TEST(Conv3dInputGradient, AxesAreFlippedEach) {
  for (int tap = 0; tap < 27; ++tap) {
    SCOPED_TRACE("the kernel has one tap, number " + std::to_string(tap) + " = (kd 3 + kh) 3 + kw");
    std::vector<float> w(27, 0);
    w[static_cast<size_t>(tap)] = 2;
    check(3, 4, 5, 1, 1, w);
  }
}

TEST(Conv3dInputGradient, ChannelsAreExchanged) {
  SCOPED_TRACE("2 channels to 3: is v[i][o] the weight w[o][i]?");
  check(2, 3, 4, 2, 3, vg::test::integers(2 * 3 * 27, 1));
  check(1, 2, 7, 5, 1, vg::test::integers(5 * 27, 3));
}

}  // namespace
}  // namespace exercise::conv3d
