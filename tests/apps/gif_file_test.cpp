#include "apps/gif_file.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/picture_files.h"

namespace vg::apps {
namespace {

const std::vector<Colour> kPalette{kBlack, {200, 10, 0}, {0, 150, 20}, kWhite};

TEST(GifFile, FramesPaletteDelayAndLoopReadBack) {
  GifWriter writer(3, 2, kPalette, 8);
  const std::vector<uint8_t> first{0, 1, 2, 3, 3, 0}, second{2, 2, 2, 0, 0, 1};
  writer.add_frame(first);
  writer.add_frame(second);
  const test::DecodedGif gif = test::decode_gif(writer.finish());
  EXPECT_EQ(gif.width, 3);
  EXPECT_EQ(gif.height, 2);
  EXPECT_EQ(gif.palette_size, 4u);
  EXPECT_TRUE(gif.loops_forever);
  EXPECT_EQ(gif.delays, (std::vector<int>{8, 8}));
  EXPECT_EQ(gif.indices, (std::vector<std::vector<uint8_t>>{first, second}));
  EXPECT_EQ(gif.at(0, 1, 0), (test::Rgb{200, 10, 0}));
}

TEST(GifFile, WrongArguments) {
  test::expect_error<std::runtime_error>([] { GifWriter(3, 2, std::vector<Colour>(3), 8); },
                                         {"3", "power of two"});
  test::expect_error<std::runtime_error>([] { GifWriter(70000, 2, kPalette, 8); }, {"70000x2"});
  GifWriter writer(3, 2, kPalette, 8);
  test::expect_error<std::runtime_error>([&] { writer.add_frame(std::vector<uint8_t>(5)); }, {"5", "6"});
}

}  // namespace
}  // namespace vg::apps
