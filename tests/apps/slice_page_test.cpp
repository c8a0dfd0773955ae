#include "apps/slice_page.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <nlohmann/json.hpp>

#include "apps/figure_files.h"
#include "support/expect_error.h"

namespace vg::apps::test {
namespace {

FigureSubject subject() {
  const data::LabelMap predicted = label_map(brats_geometry(), {{1, 1, 1, 2}, {2, 1, 1, 4}});
  data::Image image = bright_right(brats_geometry());
  for (size_t i = 0; i < image.voxels.size(); ++i) image.voxels[i] += static_cast<float>(i * 37 % 101);
  return FigureFixture(predicted, label_map(brats_geometry(), {{5, 4, 1, 1}}), image).load();
}

nlohmann::json data_of(const std::string& html) {
  const std::string begin = "<script type=\"application/json\" id=\"meta\">";
  const size_t from = html.find(begin) + begin.size();
  return nlohmann::json::parse(html.substr(from, html.find("</script>", from) - from));
}

std::vector<uint8_t> unpack(const std::string& base64, size_t size) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<uint8_t> packed;
  EXPECT_EQ(base64.size() % 4, 0u);
  for (size_t i = 0; i < base64.size(); i += 4) {
    uint32_t word = 0;
    for (size_t d = 0; d < 4; ++d) {
      const size_t digit = digits.find(base64[i + d]);
      word = word << 6 | static_cast<uint32_t>(digit == std::string::npos ? 0 : digit);
    }
    for (const int shift : {16, 8, 0}) packed.push_back(static_cast<uint8_t>(word >> shift));
  }
  std::vector<uint8_t> bytes(size + 1);
  uLongf length = bytes.size();
  EXPECT_EQ(uncompress(bytes.data(), &length, packed.data(), packed.size()), Z_OK);
  bytes.resize(length);
  return bytes;
}

TEST(SlicePage, HoldsTheVoxelsAndWhereTheyLie) {
  const FigureSubject s = subject();
  const std::string html = draw_slice_page(s, 1);
  const nlohmann::json data = data_of(html);
  EXPECT_EQ(data.at("slice"), 1);
  EXPECT_EQ(data.at("spacing"), (std::vector<double>{1, 1, 2}));
  EXPECT_EQ(data.at("order").at("left"), "R");
  EXPECT_EQ(data.at("order").at("next"), "S");
  EXPECT_EQ(data.at("legend").size(), 6u);
  const size_t size = s.prediction.voxels.size();
  EXPECT_EQ(unpack(data.at("data").at("prediction"), size), s.prediction.voxels);
  EXPECT_EQ(unpack(data.at("data").at("truth"), size), s.truth->voxels);
  std::vector<uint8_t> grey = unpack(data.at("data").at("image"), size);
  ASSERT_EQ(grey.size(), size);
  for (size_t i = 1; i < size; ++i) grey[i] = static_cast<uint8_t>(grey[i] + grey[i - 1]);
  EXPECT_EQ(grey, s.image->voxels);
  EXPECT_EQ(html, draw_slice_page(s, 1)) << "the same input gives the same bytes";
}

TEST(SlicePage, NoPartOfTheTemplateIsLeftAndNothingBreaksOut) {
  FigureSubject s = subject();
  s.id = "</script><b>{{page}}&\xff";  // file names may be anything
  s.truth.reset();
  s.image.reset();
  const std::string html = draw_slice_page(s, 0);
  EXPECT_EQ(html.find("</script><b>"), std::string::npos);
  EXPECT_NE(html.find("<title>&lt;/script&gt;&lt;b&gt;{{page}}&amp;"), std::string::npos);
  EXPECT_EQ(html.find("{{three}}"), std::string::npos);
  const nlohmann::json data = data_of(html);
  EXPECT_EQ(data.at("id").get<std::string>().substr(0, 12), "</script><b>");
  EXPECT_FALSE(data.at("data").contains("truth") || data.at("data").contains("image"));
  vg::test::expect_error<std::invalid_argument>([&] { (void)draw_slice_page(s, 4); }, {"--slice", "4"});
}

}  // namespace
}  // namespace vg::apps::test
