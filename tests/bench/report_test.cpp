#include "bench/report.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <fstream>

#include "support/temporary_folder.h"

namespace vg::bench {
namespace {

Options quick() {
  Options options;
  options.runs = 3, options.warmup = 1, options.threads = omp_get_max_threads();
  return options;
}

TEST(HarnessTest, MedianAndExtremesOfTheTimedRunsAlone) {
  int calls = 0;
  const Timing timing = measure([&] { ++calls; }, 2, 5);
  EXPECT_EQ(calls, 7);
  EXPECT_LE(timing.fastest, timing.median);
  EXPECT_LE(timing.median, timing.slowest);
}

TEST(HarnessTest, RotatedSetsExceedTheCacheTwice) {
  const size_t cache = last_level_cache_bytes(Device::cpu);
  ASSERT_GT(cache, 0u);
  EXPECT_EQ(rotated_sets(Device::cpu, 2 * cache), 1);
  EXPECT_EQ(rotated_sets(Device::cpu, 2 * cache - 1), 2);
  EXPECT_EQ(rotated_sets(Device::cpu, cache / 4), 8);
  EXPECT_EQ(rotated_sets(Device::cpu, 1), 128);
}

TEST(ReportTest, RunsRotateAndRowsArriveInJsonAndCsv) {
  const test::TemporaryFolder folder;
  Options options = quick();
  options.json = (folder / "rows.json").string(), options.csv = (folder / "rows.csv").string();
  std::vector<int> sets;
  Report report("test", options);
  report.race({"row",
               "2x3",
               "fprop",
               1e6,
               1e3,
               2,
               {{"voxgrad", [&](int set) { sets.push_back(set); },
                 [] {
                   return Deviation{1e-6, 1e-5};
                 }},
                {"other", [](int) {},
                 [] {
                   return Deviation{0, 1e-5};
                 }}}});
  report.finish();
  EXPECT_EQ(sets, (std::vector<int>{0, 0, 1, 0, 1}));  // the check, then warm-up and runs
  const auto json = nlohmann::json::parse(std::ifstream(options.json));
  ASSERT_EQ(json["rows"].size(), 2u);
  EXPECT_EQ(json["rows"][1]["implementation"], "other");
  EXPECT_EQ(json["rows"][0]["error"], 1e-6);
  EXPECT_GT(json["peak_gflops_lowest"], 0);
  EXPECT_TRUE(json["machine"].contains("processor"));
  std::ifstream csv(options.csv);
  std::string head, row;
  std::getline(csv, head);
  std::getline(csv, row);
  EXPECT_EQ(std::count(head.begin(), head.end(), ','), std::count(row.begin(), row.end(), ','));
  EXPECT_EQ(row.rfind("test,row,\"2x3\",fprop,voxgrad,", 0), 0u) << row;
}

TEST(ReportTest, AWrongResultEndsTheRace) {
  for (const double error : {1e-2, double{NAN}}) {
    Report report("test", quick());
    const Race race{
        "row", "2x3", "fprop", 1, 1, 1, {{"voxgrad", [](int) {}, [=] { return Deviation{error, 1e-5}; }}}};
    EXPECT_THROW(report.race(race), std::runtime_error);
  }
}

TEST(ReportTest, NoRowIsAnError) {
  Report report("test", quick());
  EXPECT_THROW(report.finish(), std::runtime_error);
}

TEST(OptionsTest, TypesAndOpponentsThatDoNotFitTheDevice) {
  Options options = quick();
  options.dtype = "bf16";
  EXPECT_THROW(options.apply(), std::runtime_error);
  options = quick();
  options.opponent = "cudnn";
  EXPECT_THROW(options.apply(), std::runtime_error);
}

TEST(OptionsTest, OneLayerOrAllThatContainAText) {
  Options options;
  EXPECT_TRUE(options.wants("level0.conv1", "k3 16->16"));
  options.filter = "16->16";
  EXPECT_TRUE(options.wants("level0.conv1", "k3 16->16"));
  EXPECT_FALSE(options.wants("level0.conv0", "k3 4->16"));
  options.layer = "level0.conv0";
  EXPECT_FALSE(options.wants("level0.conv1", "k3 16->16"));
}

}  // namespace
}  // namespace vg::bench
