// Every rung of the ladder against the oracle in double. A test's name ends in the rung's, and with it says
// which device it needs.
#include <ostream>
#include <string>

#include "bench/ladder/rung.h"
#include "support/bfloat16_conv_check.h"
#include "support/devices.h"
#include "support/instruction_sets.h"

namespace vg::ladder {
void PrintTo(const Rung& rung, std::ostream* out) {
  *out << rung.name;
}
}  // namespace vg::ladder

namespace vg::test {
namespace {

using ladder::Rung;

struct Extents {
  int64_t n, d, h, w, in, out;
};

// Tiles whole and cut, marches of several blocks, more channels than a tile's.
const Extents cases[] = {{1, 1, 1, 1, 16, 16},  {1, 3, 5, 7, 16, 16},   {2, 2, 5, 17, 16, 32},
                         {1, 5, 2, 23, 16, 16}, {1, 18, 2, 3, 16, 16},  {1, 2, 3, 5, 32, 16},
                         {1, 3, 4, 18, 48, 32}, {1, 2, 35, 18, 16, 16}, {1, 2, 3, 5, 3, 5}};

class LadderTest : public ::testing::TestWithParam<Rung> {
 protected:
  void check_all(bool exact) {
    for (const Extents& e : cases) {
      if (!GetParam().applies(e.in, e.out)) continue;
      SCOPED_TRACE(::testing::Message() << GetParam().name << " [" << e.n << ',' << e.d << ',' << e.h << ','
                                        << e.w << "] " << e.in << "->" << e.out);
      for_each_instruction_set(device(), [&] {
        GetParam().fp32 != nullptr ? check<float>(e, exact) : check<kernels::bfloat16>(e, exact);
      });
    }
  }

  // The output of float activations.
  std::vector<float> run(const Extents& e) {
    const Activation<float> x(device(), e.n, e.d, e.h, e.w, e.in, uniform(count(e, e.in), 1), halo()),
        y(device(), e.n, e.d, e.h, e.w, e.out);
    const Buffer<float> weight(device(), uniform(27 * e.in * e.out, 3));
    GetParam().fp32(y, x, weight.data(), exec());
    return y.get();
  }

 private:
  DeviceKind device() const { return GetParam().device; }
  kernels::Exec exec() { return {device(), nullptr, &workspace_}; }
  // Rungs of the CPU count on a halo of zeros.
  Placement halo() const { return {device() == DeviceKind::cpu ? 1 : 0, 0, 0}; }
  static int64_t count(const Extents& e, int64_t channels) { return e.n * e.d * e.h * e.w * channels; }

  template <class T>
  void check(const Extents& e, bool exact) {
    constexpr bool fp32 = std::is_same_v<T, float>;
    const auto data = [&](int64_t n, uint32_t seed) { return exact ? integers(n, seed) : uniform(n, seed); };
    const auto x_values = fp32 ? data(count(e, e.in), 1) : rounded(data(count(e, e.in), 1));
    const auto weight_values = data(27 * e.in * e.out, 3);
    const ConvOracle oracle(kernels::Conv3dParams{e.in, e.out, 3, 1, 1}, e.n, e.d, e.h, e.w);
    const auto expected = oracle.forward<float>(x_values, fp32 ? weight_values : rounded(weight_values), {});
    const Buffer<float> weight(device(), weight_values);
    const double length = static_cast<double>(oracle.forward_length());
    if constexpr (fp32) {
      const Activation<float> x(device(), e.n, e.d, e.h, e.w, e.in, x_values, halo()),
          y(device(), e.n, e.d, e.h, e.w, e.out);
      GetParam().fp32(y, x, weight.data(), exec());
      // The product's Winograd has irrational points: exact inputs, of products up to 9, do not make it
      // exact.
      const bool exact_rung = exact && std::string(GetParam().title) != "product";
      const double tolerance = 9 * float_tolerance(oracle.forward_length(), exact ? 9 : 1);
      EXPECT_TRUE(all_close(y.get(), expected, exact_rung ? 0 : tolerance));
    } else {
      const Activation<T> x(device(), e.n, e.d, e.h, e.w, e.in, to_bfloat16(x_values), halo()),
          y(device(), e.n, e.d, e.h, e.w, e.out);
      GetParam().bf16(y, x, weight.data(), exec());
      // Integers sum exactly and are rounded once; else tensor cores may truncate a unit of the sum an mma.
      const double tolerance =
          float_tolerance(oracle.forward_length()) + length / 16 * 0x1p-23 * std::sqrt(length);
      if (exact) {
        EXPECT_TRUE(
            all_close(to_float(y.get()), rounded(std::vector<float>(expected.begin(), expected.end())), 0));
      } else {
        EXPECT_TRUE(all_close(to_float(y.get()), expected, tolerance, 0x1p-8));
      }
    }
  }

  kernels::Workspace workspace_{GetParam().device};
};

TEST_P(LadderTest, IntegersAreExact) {
  check_all(true);
}

TEST_P(LadderTest, RandomDataIsClose) {
  check_all(false);
}

INSTANTIATE_TEST_SUITE_P(Rungs, LadderTest, ::testing::ValuesIn(ladder::conv3d_rungs()),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

using LadderThreadTest = LadderTest;

TEST_P(LadderThreadTest, ThreadsDoNotChangeBits) {
  expect_thread_independent([&] { return run({1, 5, 6, 23, 16, 32}); });
}

std::vector<Rung> cpu_rungs() {
  std::vector<Rung> result;
  for (const Rung& rung : ladder::conv3d_rungs()) {
    if (rung.device == DeviceKind::cpu) result.push_back(rung);
  }
  return result;
}
INSTANTIATE_TEST_SUITE_P(Rungs, LadderThreadTest, ::testing::ValuesIn(cpu_rungs()),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

TEST(LadderListTest, ARungHasOneTypeAndAFile) {
  for (const Rung& rung : ladder::conv3d_rungs()) {
    EXPECT_NE(rung.fp32 == nullptr, rung.bf16 == nullptr) << rung.name;
    EXPECT_EQ(std::string(rung.name).rfind(device_name(rung.device), 0), 0u) << rung.name;
    EXPECT_TRUE(rung.applies(16, 16)) << rung.name;
  }
}

}  // namespace
}  // namespace vg::test
