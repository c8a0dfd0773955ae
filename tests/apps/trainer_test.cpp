#include "apps/trainer.h"

#include <gtest/gtest.h>

namespace vg::apps {
namespace {

TEST(Trainer, AGpuThatFailsLeavesARunToResume) {
  const std::string line = lost_gpu_message(
      "cudaStreamSynchronize(stream): device.cu:12: unspecified launch failure", "runs/a b", 17);
  for (const char* part : {"unspecified launch failure", "step 17", "--resume", "runs/a b"})
    EXPECT_NE(line.find(part), std::string::npos) << part << " in: " << line;
  EXPECT_EQ(line.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace vg::apps
