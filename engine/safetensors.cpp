#include "engine/safetensors.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "kernels/common/check.h"

namespace vg {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* checksum_key = "voxgrad.crc32";
constexpr const char* checksum_blank = "00000000";
// Says that the file carries a checksum: damage to the checksum's own key must not make it look like a file
// without one.
constexpr const char* checksum_marker = "voxgrad.checksum";
constexpr uint64_t longest_header = uint64_t{100} << 20;  // the format's own limit

[[noreturn]] void fail(const std::filesystem::path& file, const std::string& what) {
  throw SafetensorsError(file.string() + ": " + what);
}

uint32_t add_to_crc(uint32_t crc, const void* data, size_t bytes) {
  if (bytes == 0) return crc;  // zlib takes a null pointer as a wish to start anew
  return static_cast<uint32_t>(crc32_z(crc, static_cast<const Bytef*>(data), bytes));
}

std::string hexadecimal(uint32_t value) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", value);
  return text;
}

const char* format_name(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "F32";
    case DType::bfloat16:
      return "BF16";
    case DType::uint8:
      return "U8";
    case DType::int64:
      break;
  }
  return "I64";
}

struct Entry {
  std::string name, type;
  Shape shape;
  uint64_t begin, end;
};

size_t bytes_of_type(const std::string& type) {
  if (type == "F64" || type == "I64") return 8;
  if (type == "F32") return 4;
  if (type == "F16" || type == "BF16") return 2;
  return type == "U8" ? 1 : 0;
}

float half_to_float(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                          : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                           : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

// What people try first is a PyTorch pickle: say how to convert it.
void refuse_other_formats(const std::filesystem::path& file, const unsigned char (&start)[8]) {
  const bool zip = std::memcmp(start, "PK\x03\x04", 4) == 0, pickle = start[0] == 0x80 && start[1] < 6;
  if (zip || pickle) {
    fail(file,
         "format: found a PyTorch pickle, expected safetensors; convert it in Python with "
         "safetensors.torch.save_file(torch.load(FILE, map_location=\"cpu\"), \"weights.safetensors\")");
  }
}

Entry parse_entry(const std::filesystem::path& file, const std::string& name, const Json& value,
                  uint64_t data_bytes) {
  Entry entry{name,
              value.at("dtype").get<std::string>(),
              {},
              value.at("data_offsets").at(0).get<uint64_t>(),
              value.at("data_offsets").at(1).get<uint64_t>()};
  const size_t item = bytes_of_type(entry.type);
  if (item == 0) {
    fail(file, "tensor '" + name + "': type " + entry.type +
                   " is not supported, expected F32, BF16, F16, F64, U8 or I64");
  }
  uint64_t bytes = item;
  for (const Json& extent : value.at("shape")) {
    entry.shape.push_back(extent.get<int64_t>());
    if (entry.shape.back() < 0 ||
        __builtin_mul_overflow(bytes, static_cast<uint64_t>(entry.shape.back()), &bytes)) {
      fail(file,
           "tensor '" + name + "': shape " + to_string(entry.shape) + " is impossible; the file is damaged");
    }
  }
  if (entry.begin > entry.end || entry.end > data_bytes || entry.end - entry.begin != bytes) {
    fail(file, "tensor '" + name + "': data_offsets [" + std::to_string(entry.begin) + ", " +
                   std::to_string(entry.end) + "], expected " + std::to_string(bytes) + " bytes within " +
                   std::to_string(data_bytes) + "; the file is truncated or damaged: copy or save it again");
  }
  return entry;
}

Tensor to_tensor(const Entry& entry, const std::vector<char>& data) {
  const char* const first = data.data() + entry.begin;
  const auto count = static_cast<size_t>(product(entry.shape));
  if (entry.type == "F64" || entry.type == "F16") {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i) {
      if (entry.type == "F64") {
        double value;
        std::memcpy(&value, first + i * 8, 8);
        values[i] = static_cast<float>(value);
      } else {
        uint16_t bits;
        std::memcpy(&bits, first + i * 2, 2);
        values[i] = half_to_float(bits);
      }
    }
    return Tensor::from_values(entry.shape, values);
  }
  const DType dtype = entry.type == "F32"    ? DType::float32
                      : entry.type == "BF16" ? DType::bfloat16
                      : entry.type == "U8"   ? DType::uint8
                                             : DType::int64;
  Tensor tensor = Tensor::empty(entry.shape, dtype);
  void* const destination = dtype == DType::float32    ? static_cast<void*>(tensor.data<float>())
                            : dtype == DType::bfloat16 ? static_cast<void*>(tensor.data<bfloat16>())
                            : dtype == DType::uint8    ? static_cast<void*>(tensor.data<uint8_t>())
                                                       : static_cast<void*>(tensor.data<int64_t>());
  std::memcpy(destination, first, count * bytes_of(dtype));
  return tensor;
}

// The checksum covers header and values, with its own digits blanked.
void verify_checksum(const std::filesystem::path& file, std::string header, const std::vector<char>& data,
                     const std::string& stored) {
  const std::string quoted = '"' + std::string(checksum_key) + "\":\"";
  const size_t place = header.find(quoted);
  if (place == std::string::npos)
    fail(file, "checksum: cannot be located in the header; the file is damaged");
  header.replace(place + quoted.size(), stored.size(), checksum_blank);
  uint32_t crc = add_to_crc(0, header.data(), header.size());
  crc = add_to_crc(crc, data.data(), data.size());
  if (hexadecimal(crc) != stored) {
    fail(file, "checksum: found " + hexadecimal(crc) + ", expected " + stored +
                   "; the file is damaged: use another copy or checkpoint");
  }
}

std::vector<char> bytes_on_host(const Tensor& tensor) {
  std::vector<char> bytes(static_cast<size_t>(tensor.elements()) * bytes_of(tensor.dtype()));
  const auto copy = [&](const auto& values) { std::memcpy(bytes.data(), values.data(), bytes.size()); };
  switch (tensor.dtype()) {
    case DType::float32:
      copy(tensor.values<float>());
      break;
    case DType::bfloat16:
      copy(tensor.values<bfloat16>());
      break;
    case DType::uint8:
      copy(tensor.values<uint8_t>());
      break;
    case DType::int64:
      copy(tensor.values<int64_t>());
      break;
  }
  return bytes;
}

}  // namespace

bool Safetensors::contains(const std::string& name) const {
  return std::any_of(tensors.begin(), tensors.end(), [&](const NamedTensor& t) { return t.first == name; });
}

const Tensor& Safetensors::at(const std::string& name) const {
  const auto it =
      std::find_if(tensors.begin(), tensors.end(), [&](const NamedTensor& t) { return t.first == name; });
  if (it == tensors.end()) throw std::out_of_range("tensor '" + name + "' is not in the file");
  return it->second;
}

Safetensors load_safetensors(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) fail(file, "not found, or not a file; check the path");
  const uint64_t size = std::filesystem::file_size(file, error);
  std::ifstream stream(file, std::ios::binary);
  if (!stream) fail(file, "cannot be opened; check its permissions");
  unsigned char start[8] = {};
  stream.read(reinterpret_cast<char*>(start), sizeof start);
  refuse_other_formats(file, start);
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | start[i];
  if (size < 8 || header_bytes > longest_header || header_bytes > size - 8) {
    fail(file, "header length: found " + std::to_string(header_bytes) + " in a file of " +
                   std::to_string(size) + " bytes; not a safetensors file, or truncated");
  }
  std::string header(header_bytes, '\0');
  stream.read(header.data(), static_cast<std::streamsize>(header.size()));
  std::vector<char> data(size - 8 - header_bytes);
  stream.read(data.data(), static_cast<std::streamsize>(data.size()));
  if (!stream) fail(file, "cannot be read to its end; check the disk");

  Safetensors content;
  try {
    const Json json = Json::parse(header);
    for (const auto& [name, value] : json.items()) {
      if (name == "__metadata__") {
        content.metadata = value.get<std::map<std::string, std::string>>();
      } else {
        content.tensors.emplace_back(name, to_tensor(parse_entry(file, name, value, data.size()), data));
      }
    }
  } catch (const nlohmann::json::exception& e) {
    fail(file, std::string("header: ") + e.what() + "; not a safetensors file, or damaged");
  }
  const auto stored = content.metadata.find(checksum_key);
  if (stored != content.metadata.end()) verify_checksum(file, header, data, stored->second);
  if ((stored != content.metadata.end()) != content.metadata.contains(checksum_marker)) {
    fail(file, "checksum: its entry in the metadata is damaged; use another copy or checkpoint");
  }
  content.metadata.erase(checksum_key);
  content.metadata.erase(checksum_marker);
  return content;
}

void save_safetensors(const std::filesystem::path& file, const Safetensors& content) {
  Json json;
  json["__metadata__"] = content.metadata;
  json["__metadata__"][checksum_key] = checksum_blank;
  json["__metadata__"][checksum_marker] = "crc32";
  uint64_t offset = 0;
  for (const auto& [name, tensor] : content.tensors) {
    kernels::require(!tensor.is_activation(), "save_safetensors: '", name,
                     "' is an activation, expected a contiguous tensor");
    const uint64_t bytes = static_cast<uint64_t>(tensor.elements()) * bytes_of(tensor.dtype());
    json[name] = {{"dtype", format_name(tensor.dtype())},
                  {"shape", tensor.shape()},
                  {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string header = json.dump();
  header.resize((header.size() + 7) / 8 * 8, ' ');  // values start aligned

  uint32_t crc = add_to_crc(0, header.data(), header.size());
  for (const auto& [name, tensor] : content.tensors) {
    const std::vector<char> bytes = bytes_on_host(tensor);
    crc = add_to_crc(crc, bytes.data(), bytes.size());
  }
  const std::string quoted = '"' + std::string(checksum_key) + "\":\"";
  header.replace(header.find(quoted) + quoted.size(), 8, hexadecimal(crc));

  AtomicFile out(file);
  unsigned char start[8];
  for (int i = 0; i < 8; ++i) start[i] = static_cast<unsigned char>(uint64_t{header.size()} >> (8 * i));
  out.write(start, sizeof start);
  out.write(header);
  for (const auto& [name, tensor] : content.tensors) {
    const std::vector<char> bytes = bytes_on_host(tensor);
    out.write(bytes.data(), bytes.size());
  }
  out.commit();
}

}  // namespace vg
