#include "apps/png_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "support/expect_error.h"
#include "support/picture_files.h"
#include "support/temporary_folder.h"

namespace vg::apps {
namespace {

TEST(PngFile, ReadsBackPixelForPixel) {
  const test::TemporaryFolder folder;
  Picture picture(31, 17, {1, 2, 3});
  picture.rectangle({4, 5, 6, 7}, {250, 128, 0});
  write_png(folder / "a.png", picture);
  std::ifstream stream(folder / "a.png", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
  const test::DecodedPng decoded = test::decode_png(bytes);
  EXPECT_EQ(decoded.width, 31);
  EXPECT_EQ(decoded.height, 17);
  EXPECT_EQ(decoded.rgb, picture.rgb());
  EXPECT_EQ(decoded.at(4, 5), (test::Rgb{250, 128, 0}));
  EXPECT_EQ(bytes, encode_png(picture.rgb(), 31, 17)) << "the same picture gives the same bytes";
}

TEST(PngFile, ErrorsLeaveNothing) {
  const test::TemporaryFolder folder;
  test::expect_error<std::runtime_error>([&] { write_png(folder / "none/a.png", Picture(2, 2, kWhite)); },
                                         {"none/a.png", "cannot"});
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  test::expect_error<std::runtime_error>([] { (void)encode_png(std::vector<uint8_t>(5), 2, 2); },
                                         {"5", "12"});
}

}  // namespace
}  // namespace vg::apps
