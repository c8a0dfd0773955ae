#include "kernels/common/simd.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "support/instruction_sets.h"

namespace vg::test {
namespace {

using namespace vg::kernels::cpu;

TEST(Simd, TheBestInstructionSetIsTheDefault) {
  EXPECT_TRUE(isa_supported(Isa::portable));
  if (isa_supported(Isa::avx512)) {
    EXPECT_TRUE(isa_supported(Isa::avx2));
  }
  EXPECT_TRUE(isa_supported(active_isa()));
}

TEST(Simd, ForcedInstructionSetIsActiveOrAnError) {
  const CpuSettings restore;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (isa_supported(isa)) {
      force_isa(isa);
      EXPECT_EQ(active_isa(), isa);
    } else {
      EXPECT_THROW(force_isa(isa), std::runtime_error);
    }
  }
}

// The variable is read once a process, so each value gets a process of its own, which exits with the
// instruction set or with 100 for an error that names the variable.
int isa_from_environment(const char* value) {
  setenv("VOXGRAD_ISA", value, 1);
  try {
    return static_cast<int>(active_isa());
  } catch (const std::runtime_error& error) {
    return std::string(error.what()).find(value) != std::string::npos ? 100 : 101;
  }
}

TEST(SimdDeathTest, EnvironmentVariableChooses) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    EXPECT_EXIT(std::exit(isa_from_environment(isa_name(isa))),
                ::testing::ExitedWithCode(isa_supported(isa) ? static_cast<int>(isa) : 100), "");
  }
  EXPECT_EXIT(std::exit(isa_from_environment("sse9")), ::testing::ExitedWithCode(100), "");
}

}  // namespace
}  // namespace vg::test
