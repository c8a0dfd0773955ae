#include "apps/run_log.h"

#include <gtest/gtest.h>

#include <fstream>

#include "apps/run_lock.h"
#include "support/temporary_folder.h"

namespace vg::apps {
namespace {

std::string text_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(RunLog, ResumedLogsAreThoseOfAnUninterruptedRun) {
  const test::TemporaryFolder folder;
  {
    RunLog log(folder.path(), 0, 0);
    for (int step = 1; step <= 4; ++step) {
      log.step({{"step", step}, {"loss", 0.5}});
      if (step % 2 == 0) log.epoch({{"epoch", step / 2}, {"loss", 0.5}});
    }
  }
  std::ofstream(folder / "log.jsonl", std::ios::app) << "{\"step\": 5, \"lo";  // torn by kill -9
  {
    RunLog log(folder.path(), 3, 1);  // the last checkpoint was made after step 3
    log.step({{"step", 4}, {"loss", 0.25}});
    log.epoch({{"epoch", 2}, {"loss", 0.25}});
  }
  EXPECT_EQ(text_of(folder / "log.jsonl"),
            "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.5}\n{\"step\":3,\"loss\":0.5}\n{\"step\":4,"
            "\"loss\":0.25}\n");
  EXPECT_EQ(text_of(folder / "epochs.csv"), "epoch,loss\n1,0.5\n2,0.25\n");
}

TEST(RunLock, ASecondRunInTheFolderIsRefused) {
  const test::TemporaryFolder folder;
  {
    const RunLock first(folder.path());
    EXPECT_THROW(RunLock{folder.path()}, std::runtime_error);
  }
  const RunLock again(folder.path());
}

}  // namespace
}  // namespace vg::apps
