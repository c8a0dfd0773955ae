#include "engine/safetensors.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/random_data.h"
#include "support/temporary_folder.h"

namespace vg::test {
namespace {

std::string bytes_of_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_bytes(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

// The header length of the format: eight bytes, little endian.
std::string with_header(const std::string& header, const std::string& data) {
  std::string start(8, '\0');
  for (size_t i = 0; i < 8; ++i) start[i] = static_cast<char>(header.size() >> (8 * i));
  return start + header + data;
}

std::string error_of(const std::filesystem::path& file) {
  try {
    load_safetensors(file);
  } catch (const SafetensorsError& error) {
    return error.what();
  }
  return "";
}

Safetensors example() {
  return {{{"kind", "test \"quoted\""}},
          {{"weight", Tensor::from_values({2, 3}, uniform(6, 1))},
           {"steps", Tensor::from_values<int64_t>({}, {41})},
           {"labels", Tensor::from_values<uint8_t>({5}, {0, 1, 2, 3, 255})}}};
}

TEST(Safetensors, RoundTripKeepsEverything) {
  const TemporaryFolder folder;
  const Safetensors written = example();
  save_safetensors(folder / "a.safetensors", written);
  const Safetensors read = load_safetensors(folder / "a.safetensors");
  EXPECT_EQ(read.metadata, written.metadata);
  ASSERT_EQ(read.tensors.size(), 3u);
  EXPECT_EQ(read.tensors[0].first, "weight");  // the file's order
  EXPECT_EQ(read.at("weight").shape(), (Shape{2, 3}));
  EXPECT_EQ(read.at("weight").values(), written.at("weight").values());
  EXPECT_EQ(read.at("steps").shape(), Shape{});
  EXPECT_EQ(read.at("steps").values<int64_t>(), std::vector<int64_t>{41});
  EXPECT_EQ(read.at("labels").values<uint8_t>(), (std::vector<uint8_t>{0, 1, 2, 3, 255}));
  EXPECT_FALSE(read.contains("bias"));
  EXPECT_THROW((void)read.at("bias"), std::out_of_range);
}

TEST(Safetensors, ReadsFilesOfTheReferenceImplementation) {
  const Safetensors file = load_safetensors(VG_GOLDEN_DIR "/attention_unet.weights.safetensors");
  EXPECT_EQ(file.at("model.0.conv.0.conv.weight").shape(), (Shape{4, 4, 3, 3, 3}));
  EXPECT_EQ(file.at("model.0.conv.0.adn.N.num_batches_tracked").dtype(), DType::int64);
}

TEST(Safetensors, EveryFlippedBitIsFound) {
  const TemporaryFolder folder;
  save_safetensors(folder / "a.safetensors", example());
  const std::string good = bytes_of_file(folder / "a.safetensors");
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    write_bytes(folder / "bad.safetensors", bad);
    EXPECT_NE(error_of(folder / "bad.safetensors"), "") << "byte " << i << " of " << good.size();
  }
}

TEST(Safetensors, EveryTruncationIsFound) {
  const TemporaryFolder folder;
  save_safetensors(folder / "a.safetensors", example());
  const std::string good = bytes_of_file(folder / "a.safetensors");
  for (size_t length = 0; length < good.size(); length += 3) {
    write_bytes(folder / "bad.safetensors", good.substr(0, length));
    const std::string error = error_of(folder / "bad.safetensors");
    EXPECT_NE(error.find("bad.safetensors: "), std::string::npos) << length;
    EXPECT_EQ(error.find('\n'), std::string::npos);
  }
}

TEST(Safetensors, DamagedHeadersAreNamed) {
  const TemporaryFolder folder;
  const auto file = folder / "bad.safetensors";
  const std::string data(8, '\0');
  write_bytes(
      file,
      with_header(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", data));
  EXPECT_NE(error_of(file).find("shape"), std::string::npos);
  write_bytes(file, with_header(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", data));
  EXPECT_NE(error_of(file).find("expected 12 bytes"), std::string::npos);
  write_bytes(file, with_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})", data));
  EXPECT_NE(error_of(file).find("data_offsets"), std::string::npos);
  write_bytes(file, with_header(R"({"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}})", data));
  EXPECT_NE(error_of(file).find("C64"), std::string::npos);
  write_bytes(file, with_header("not json", data));
  EXPECT_NE(error_of(file).find("header"), std::string::npos);
  write_bytes(file, std::string(8, '\xff') + data);
  EXPECT_NE(error_of(file).find("header length"), std::string::npos);
  write_bytes(file, std::string("PK\x03\x04") + std::string(100, 'x'));
  EXPECT_NE(error_of(file).find("pickle"), std::string::npos);
  EXPECT_NE(error_of(folder / "missing.safetensors").find("not found"), std::string::npos);
}

TEST(Safetensors, DoublesAndHalvesBecomeFloats) {
  const TemporaryFolder folder;
  const double value = 0.25;
  std::string data(reinterpret_cast<const char*>(&value), 8);
  for (const int bits : {0x3C00, 0xC000, 0x0001, 0x7C00})
    data += {static_cast<char>(bits & 255), static_cast<char>(bits >> 8)};
  const std::string header =
      R"({"d":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"h":{"dtype":"F16","shape":[4],"data_offsets":[8,16]}})";
  write_bytes(folder / "a.safetensors", with_header(header, data));
  const Safetensors file = load_safetensors(folder / "a.safetensors");
  EXPECT_EQ(file.at("d").values(), std::vector<float>{0.25f});
  EXPECT_EQ(file.at("h").values(), (std::vector<float>{1, -2, 0x1p-24f, INFINITY}));
}

TEST(Safetensors, AFailedWriteKeepsTheOldFile) {
  const TemporaryFolder folder;
  save_safetensors(folder / "a.safetensors", example());
  const std::string before = bytes_of_file(folder / "a.safetensors");
  Safetensors bad = example();
  bad.tensors.emplace_back("activation", Tensor::activation(1, 2, 2, 2, 2, Device::cpu));
  EXPECT_THROW(save_safetensors(folder / "a.safetensors", bad), std::invalid_argument);
  EXPECT_THROW(save_safetensors(folder / "no/such/folder.safetensors", example()), std::runtime_error);
  EXPECT_EQ(bytes_of_file(folder / "a.safetensors"), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace vg::test
