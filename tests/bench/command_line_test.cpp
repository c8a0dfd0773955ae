// Every subcommand of voxgrad-bench as a user would run it: on a tiny shape, and for a GPU where there is
// none.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "kernels/conv3d/conv3d_inference.h"
#include "support/temporary_folder.h"

namespace {

struct Result {
  int exit_code;
  std::string output;  ///< of both streams
};

// Both streams and the status of a command line.
Result shell(const std::string& command) {
  std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string output;
  std::array<char, 4096> buffer{};
  for (size_t read; (read = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    output.append(buffer.data(), read);
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

// No GPU is visible, so that a machine with one gives the same message.
Result bench(const std::string& arguments) {
  return shell("CUDA_VISIBLE_DEVICES= " VG_BENCH_BINARY " " + arguments);
}

struct Subcommand {
  const char* name;
  const char* tiny;  ///< arguments that make it small
  const char* line;  ///< part of what it prints then
  bool races_onednn = false;
};

const std::string shapes = " --shapes " VG_SOURCE_DIR "/tests/bench/tiny_shapes.txt";
const std::string quick = " --runs 2 --warmup 1 --threads 1";

class SubcommandTest : public ::testing::TestWithParam<Subcommand> {
 protected:
  static std::string tiny() {
    const std::string name = GetParam().name;
    const bool has_shapes = name != "train-step" && name != "infer";
    return name + " " + GetParam().tiny + quick + (has_shapes ? shapes : "");
  }
};

const Subcommand subcommands[] = {{"conv3d", "", "k3 s2 4->3 6x5x7", true},
                                  {"conv_transpose3d", "", "transposed k3 s2 4->3 3x2x4", true},
                                  {"gate", "", "g6 f3"},
                                  {"norm", "", "1x4x5x6 c5", true},
                                  {"dice", "", "1x6x4x8 c3"},
                                  {"resample", "", "1x3x2x4 c4 x2", true},
                                  {"augment", "--shape 8,9,10 --transform 'random_flip()'", "random_flip"},
                                  {"adam", "", "tensors"},
                                  {"train-step", "--shape 1,4,32,32,32", "train-step cpu: median"},
                                  {"infer", "--shape 1,4,32,32,32", "infer cpu"}};

INSTANTIATE_TEST_SUITE_P(All, SubcommandTest, ::testing::ValuesIn(subcommands), [](const auto& subcommand) {
  std::string name = subcommand.param.name;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

TEST_P(SubcommandTest, PrintsItsTableOnTheCpu) {
  const Result result = bench(tiny());
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find(GetParam().line), std::string::npos) << result.output;
}

TEST_P(SubcommandTest, EndsWithAClearMessageWithoutAGpu) {
  for (const std::string type : {"float32", "bf16"}) {
    const Result result = bench(tiny() + " --device cuda --dtype " + type);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.output.find("voxgrad-bench: error: --device cuda: no CUDA device: "), std::string::npos)
        << result.output;
    EXPECT_EQ(result.output.find('\n'), result.output.size() - 1) << result.output;
  }
}

#ifdef VG_WITH_ONEDNN
TEST_P(SubcommandTest, RacesOnednn) {
  if (!GetParam().races_onednn) return;
  const Result result = bench(tiny() + " --opponent onednn");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("oneDNN ndhwc"), std::string::npos) << result.output;
}
#endif

TEST(BenchCommandLineTest, InferenceInBfloat16NeedsAProcessorThatMultipliesIt) {
  const std::string infer = "infer --shape 1,4,32,32,32" + quick;
  const Result result = bench(infer + " --precision bfloat16");
  const bool able = vg::kernels::has_fast_bfloat16_products();
  EXPECT_EQ(result.exit_code, able ? 0 : 1) << result.output;
  const std::string line =
      able ? "infer cpu bfloat16: median " : "--precision bfloat16: this processor has no";
  EXPECT_NE(result.output.find(line), std::string::npos) << result.output;
  for (const std::string& refused :
       {infer + " --precision tf32", "train-step --precision bfloat16" + quick}) {
    const Result other = bench(refused);
    EXPECT_EQ(other.exit_code, 1);
    EXPECT_NE(other.output.find(": on CUDA only"), std::string::npos) << other.output;
  }
}

TEST(BenchCommandLineTest, OpponentsThatAreNotThereOrDoNotFit) {
  for (const std::string opponent : {"cudnn", "cublas", "onednn"}) {
    const Result result = bench("conv3d" + quick + shapes + " --opponent " + opponent +
                                (opponent == "onednn" ? " --device cuda" : ""));
    EXPECT_EQ(result.exit_code, 1);
    const bool missing = result.output.find("was built without it: install ") != std::string::npos,
               unfit = result.output.find("not with --device ") != std::string::npos;
    EXPECT_TRUE(missing || unfit) << result.output;
  }
}

#if defined(VG_WITH_CUDNN) && defined(VG_WITH_CUBLAS)
TEST(BenchCommandLineTest, CudnnAndCublasSayThatThereIsNoGpu) {
  for (const std::string opponent : {"cudnn", "cublas"}) {
    const Result result =
        bench("conv3d" + quick + shapes + " --device cuda --dtype bf16 --opponent " + opponent);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.output.find("no CUDA device: "), std::string::npos) << result.output;
  }
}
#endif

TEST(BenchCommandLineTest, AFilterThatLeavesNothingIsAnError) {
  const Result result = bench("norm" + quick + shapes + " --layer nothing");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.output.find("nothing to run"), std::string::npos) << result.output;
}

TEST(BenchCommandLineTest, OnceRunsWithoutATable) {
  const Result result = bench("conv3d --layer up --direction dgrad --batch 0 --once" + shapes);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("done"), std::string::npos);
  EXPECT_EQ(result.output.find("peak"), std::string::npos);
}

const std::string gpu_report = VG_SOURCE_DIR "/bench/gpu-report";

TEST(GpuReportTest, ListsWhatItWouldRun) {
  const Result result = shell(gpu_report + " --dry-run --build somewhere --runs 7");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  for (const std::string part :
       {"cmake --build --preset cuda\n", "ctest --test-dir somewhere -L cuda",
        "compute-sanitizer --tool racecheck",
        "somewhere/bench/voxgrad-bench conv3d --device cuda --batch 0 --runs 7 --dtype bf16 --opponent "
        "cudnn\n",
        "--opponent cublas --filter 'k1 '", "voxgrad-bench train-step --device cuda"})
    EXPECT_NE(result.output.find(part), std::string::npos) << part << " in: " << result.output;
  for (const Subcommand& subcommand : subcommands)
    EXPECT_NE(result.output.find(std::string("voxgrad-bench ") + subcommand.name + ' '), std::string::npos)
        << subcommand.name;
}

// A folder of its own in front of PATH stands for a machine with or without a GPU.
TEST(GpuReportTest, SaysThatNoGpuAnswers) {
  const vg::test::TemporaryFolder folder;
  std::ofstream(folder / "nvidia-smi") << "#!/bin/sh\nexit 9\n";
  const std::string path = folder.path().string();
  const Result result = shell("chmod +x " + path + "/nvidia-smi && PATH=" + path + ":$PATH " + gpu_report);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.output.rfind("bench/gpu-report: no GPU answers", 0), 0u) << result.output;
}

TEST(GpuReportTest, WritesEachCommandWithItsStatus) {
  const vg::test::TemporaryFolder folder;
  const std::string path = folder.path().string();
  std::filesystem::create_directories(folder / "build/bench");
  std::ofstream(folder / "nvidia-smi") << "#!/bin/sh\necho Some GPU, 1.2\n";
  std::ofstream(folder / "build/bench/voxgrad-bench") << "#!/bin/sh\necho \"row of $1\"; [ $1 != dice ]\n";
  const Result result =
      shell("cd " + path + " && chmod +x nvidia-smi build/bench/voxgrad-bench && PATH=" + path + ":$PATH " +
            gpu_report + " --benches-only --build " + path + "/build --output " + path + "/report.md");
  EXPECT_EQ(result.exit_code, 1) << result.output;  // dice fails, the others follow
  std::ifstream file(folder / "report.md");
  const std::string report((std::istreambuf_iterator<char>(file)), {});
  for (const std::string part : {"# GPU report", "Some GPU, 1.2", "- commit: ", "row of conv3d",
                                 "row of infer", "Exit status 1 after", "2 of "})
    EXPECT_NE(report.find(part), std::string::npos) << part << " in: " << report;
}

}  // namespace
