#include "apps/slice_page.h"

#include <zlib.h>

#include <array>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "apps/embedded_files.h"
#include "apps/slice_figure.h"

namespace vg::apps {

namespace {

using nlohmann::ordered_json;

std::string base64(std::span<const uint8_t> bytes) {
  static constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t b = 0; b < 3; ++b) word = word << 8 | (b < count ? bytes[i + b] : 0U);
    for (size_t d = 0; d < 4; ++d) text += d <= count ? digits[word >> (18 - 6 * d) & 63U] : '=';
  }
  return text;
}

std::string pack(const std::vector<uint8_t>& bytes) {
  std::vector<uint8_t> packed(compressBound(bytes.size()));
  uLongf size = packed.size();
  if (compress2(packed.data(), &size, bytes.data(), bytes.size(), Z_DEFAULT_COMPRESSION) != Z_OK)
    throw std::runtime_error("page: zlib cannot compress the voxels");
  return base64(std::span(packed).first(size));
}

// Neighbours are alike: their differences compress better than themselves.
std::vector<uint8_t> differences(std::vector<uint8_t> bytes) {
  for (size_t i = bytes.size(); i-- > 1;) bytes[i] = static_cast<uint8_t>(bytes[i] - bytes[i - 1]);
  return bytes;
}

std::string hex(Colour colour) {
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", colour.red, colour.green, colour.blue);
  return text;
}

ordered_json page_data(const FigureSubject& subject, int64_t slice) {
  const SliceStack& stack = subject.prediction;
  const SliceOrder& order = slice_order(subject.axis);
  const auto letter = [](char direction) { return std::string(1, direction); };
  ordered_json json = {
      {"id", subject.id},
      {"image_name", subject.image_name},
      {"axis", to_string(subject.axis)},
      {"width", stack.width},
      {"height", stack.height},
      {"slices", stack.slices},
      {"slice", slice},
      {"spacing", subject.spacing},
      {"order",
       {{"left", letter(order.left)},
        {"right", letter(order.right)},
        {"above", letter(order.above)},
        {"below", letter(order.below)},
        {"next", letter(order.next)}}},
      {"alpha", kOverlayAlpha},
      {"colours", ordered_json::array()},
      {"legend", ordered_json::array()},
      {"data", {{"prediction", pack(stack.voxels)}}},
  };
  for (const Colour& colour : class_colours()) json["colours"].push_back(hex(colour));
  for (const LegendEntry& entry : legend_of(subject))
    json["legend"].push_back({{"text", entry.text}, {"classes", entry.classes}, {"dice", entry.dice}});
  if (subject.truth) json["data"]["truth"] = pack(subject.truth->voxels);
  if (subject.image) json["data"]["image"] = pack(differences(subject.image->voxels));
  return json;
}

std::string replaced(const std::string& text, const std::map<char, std::string>& replacements) {
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    const auto it = replacements.find(c);
    it == replacements.end() ? result += c : result += it->second;
  }
  return result;
}

// The template with each {{name}} replaced once; what is put in is not looked at again.
std::string fill(std::string_view page, const std::map<std::string, std::string_view, std::less<>>& parts) {
  std::string result;
  while (true) {
    const size_t open = page.find("{{");
    result += page.substr(0, open);
    if (open == std::string_view::npos) return result;
    const size_t close = page.find("}}", open);
    result += parts.find(page.substr(open + 2, close - open - 2))->second;
    page.remove_prefix(close + 2);
  }
}

}  // namespace

std::string draw_slice_page(const FigureSubject& subject, int64_t slice) {
  check_slice(subject, slice);
  const std::string title = replaced(subject.id, {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}});
  // File names may hold anything: no text may end the script element that it is in.
  const std::string data =
      replaced(page_data(subject, slice).dump(-1, ' ', false, ordered_json::error_handler_t::replace),
               {{'<', "\\u003c"}});
  return fill(embedded::page_html(), {{"title", title},
                                      {"style", embedded::page_css()},
                                      {"meta", data},
                                      {"three", embedded::three_js()},
                                      {"surface", embedded::surface_js()},
                                      {"scene", embedded::scene_js()},
                                      {"page", embedded::page_js()}});
}

}  // namespace vg::apps
