#include "nets/architecture.h"

#include <gtest/gtest.h>

#include "nets/network.h"
#include "tests/support/error_message.h"

namespace vg::test {
namespace {

std::string parse_error(const std::string& text) {
  return message_of([&] { architecture_from_json(text); });
}

TEST(Architecture, JsonRoundTrip) {
  const Architecture a{.name = "unet",
                       .in_channels = 2,
                       .out_channels = 3,
                       .channels = {5, 6, 7},
                       .strides = {2, 2},
                       .dropout = 0.25};
  EXPECT_EQ(
      to_json(a),
      R"({"name":"unet","in_channels":2,"out_channels":3,"channels":[5,6,7],"strides":[2,2],"dropout":0.25})");
  EXPECT_EQ(architecture_from_json(to_json(a)), a);
  EXPECT_EQ(architecture_from_json("{}"), Architecture());
  EXPECT_EQ(architecture_from_json(R"({"channels": [4, 8]})").strides, std::vector<int64_t>{2});
}

TEST(Architecture, ErrorsNameFieldValueAndExpectation) {
  EXPECT_EQ(parse_error("[1"), "architecture: expected a JSON object, found '[1'");
  EXPECT_EQ(parse_error(R"({"name": "vnet"})"),
            "architecture: name is 'vnet', expected attention_unet or unet");
  EXPECT_EQ(
      parse_error(R"({"channel": 3})"),
      "architecture: unknown field 'channel', expected name, in_channels, out_channels, channels, strides or "
      "dropout");
  EXPECT_EQ(parse_error(R"({"in_channels": "4"})"),
            "architecture: in_channels is \"4\", expected an integer");
  EXPECT_EQ(parse_error(R"({"in_channels": 0})"), "architecture: in_channels is 0, expected 1 to 65536");
  EXPECT_EQ(parse_error(R"({"out_channels": 1.5})"),
            "architecture: out_channels is 1.5, expected an integer");
  EXPECT_EQ(parse_error(R"({"channels": 16})"), "architecture: channels is 16, expected a list of integers");
  EXPECT_EQ(parse_error(R"({"channels": [4, null]})"),
            "architecture: channels[1] is null, expected an integer");
  EXPECT_EQ(parse_error(R"({"channels": []})"), "architecture: channels has 0 levels, expected 2 to 8");
  EXPECT_EQ(parse_error(R"({"channels": [4, 8], "strides": [2, 2]})"),
            "architecture: strides has 2 values, expected 1, one fewer than channels");
  EXPECT_EQ(parse_error(R"({"channels": [4, 8], "strides": [1]})"),
            "architecture: strides[0] is 1, expected 2");
  EXPECT_EQ(parse_error(R"({"channels": [1, 8]})"), "architecture: channels[0] is 1, expected 2 to 65536");
  EXPECT_EQ(parse_error(R"({"name": "unet", "channels": [1, 1]})"), "nothing thrown");
  EXPECT_EQ(parse_error(R"({"dropout": 1})"),
            "architecture: dropout is 1, expected at least 0 and less than 1");
  EXPECT_EQ(parse_error(R"({"dropout": -0.1})"),
            "architecture: dropout is -0.1, expected at least 0 and less than 1");
  EXPECT_EQ(parse_error(R"({"dropout": "x"})"), "architecture: dropout is \"x\", expected a number");
}

TEST(Architecture, IsReadOffAStateDict) {
  Rng rng(1);
  for (const char* name : {"attention_unet", "unet"}) {
    for (const std::vector<int64_t>& channels :
         {std::vector<int64_t>{3, 5}, std::vector<int64_t>{6, 4, 2}, std::vector<int64_t>{2, 3, 4, 5, 6}}) {
      const Architecture a{.name = name,
                           .in_channels = 7,
                           .out_channels = 9,
                           .channels = channels,
                           .strides = std::vector<int64_t>(channels.size() - 1, 2)};
      EXPECT_EQ(architecture_from_state(make_network(a, Device::cpu, rng)->state()), a);
    }
  }
}

TEST(Architecture, StateDictsOfOtherNetworksAreRefused) {
  const auto read = [](const std::vector<NamedTensor>& state) {
    return message_of([&] { architecture_from_state(state); });
  };
  EXPECT_NE(read({}).find("its first tensor is ''"), std::string::npos);
  EXPECT_NE(read({{"encoder.weight", Tensor::zeros({1})}}).find("its first tensor is 'encoder.weight'"),
            std::string::npos);
  // A two-dimensional network, and one that is cut off.
  EXPECT_EQ(
      read({{"model.0.conv.weight", Tensor::zeros({4, 1, 3, 3})}}),
      "architecture: tensor 'model.0.conv.weight' has shape [4, 1, 3, 3], expected a 3D kernel of size 3");
  EXPECT_EQ(read({{"model.0.conv.0.conv.weight", Tensor::zeros({4, 1, 3, 3, 3})}}),
            "architecture: tensor 'model.1.submodule.conv.0.conv.weight' is missing");
}

}  // namespace
}  // namespace vg::test
