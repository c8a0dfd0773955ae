#include "apps/cli_support.h"

#include <gtest/gtest.h>

#include <fstream>

#include "apps/terminal.h"
#include "support/temporary_folder.h"

namespace vg::apps {
namespace {

struct Parsed {
  int64_t epochs = 1;
  std::string data = "none", channels;
  bool shuffle = false;
};

Parsed parse(const std::filesystem::path& file, std::vector<std::string> arguments) {
  CLI::App app;
  Parsed parsed;
  app.add_option("--epochs", parsed.epochs)->check(CLI::PositiveNumber);
  app.add_option("--data", parsed.data);
  app.add_option("--channels", parsed.channels);
  app.add_flag("--shuffle", parsed.shuffle);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  apply_options_file(app, file);
  return parsed;
}

TEST(Precision, TensorCoresNeedAGpu) {
  EXPECT_EQ(choose_precision("auto", Device::cpu), DType::float32);
  EXPECT_EQ(choose_precision("float32", Device::cpu), DType::float32);
  for (const std::string precision : {"tf32", "bfloat16"}) {
    try {
      choose_precision(precision, Device::cpu);
      FAIL() << precision;
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("--precision " + precision + ": needs a GPU"),
                std::string::npos);
    }
  }
}

TEST(OptionsFile, FillsInWhatTheCommandLineDoesNotGive) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "a.toml") << "# comment\nepochs = 7\ndata = '/path/with, comma and space'\nchannels "
                                      "= \"t1,t2\"\nshuffle = true\n";
  const Parsed parsed = parse(folder / "a.toml", {"--epochs", "3"});
  EXPECT_EQ(parsed.epochs, 3);
  EXPECT_EQ(parsed.data, "/path/with, comma and space");
  EXPECT_EQ(parsed.channels, "t1,t2");
  EXPECT_TRUE(parsed.shuffle);
}

TEST(OptionsFile, UnknownKeysNameTheNearestOne) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "a.toml") << "epohcs = 7\n";
  try {
    parse(folder / "a.toml", {});
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean 'epochs'"), std::string::npos) << error.what();
  }
  std::ofstream(folder / "b.toml") << "epochs = -7\n";
  EXPECT_THROW(parse(folder / "b.toml", {}), std::runtime_error);
  EXPECT_THROW(parse(folder / "missing.toml", {}), std::runtime_error);
}

TEST(Terminal, FormatsForPeople) {
  EXPECT_EQ(format_duration(5.06), "5.1 s");
  EXPECT_EQ(format_duration(184), "3 min 04 s");
  EXPECT_EQ(format_duration(3720), "1 h 02 min");
  EXPECT_EQ(format_bytes(2.5e9), "2.50 GB");
  Pace pace(3);
  EXPECT_EQ(pace.text(), "0/3");
  pace.advance(3);
  EXPECT_EQ(pace.text(), "3/3");
}

}  // namespace
}  // namespace vg::apps
