#include "data/sample_cache.h"

#include <zlib.h>

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "data/byte_source.h"
#include "engine/atomic_file.h"

namespace vg::data {
namespace {

namespace fs = std::filesystem;

using Json = nlohmann::ordered_json;

// The number is the version: raise it whenever the same files and parameters give another sample, or the
// format changes.
constexpr char magic[] = "voxgrad sample 1";
constexpr size_t magic_bytes = sizeof magic - 1, version_place = magic_bytes - 1;

uint64_t fnv1a(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

std::string hexadecimal(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

/// Path, size and time of change; "missing" for a file that cannot be asked.
std::string file_key(const fs::path& file) {
  std::error_code error;
  const uint64_t bytes = fs::file_size(file, error);
  if (error) return file.string() + " missing";
  const fs::file_time_type time = fs::last_write_time(file, error);
  if (error) return file.string() + " missing";
  return join_text(fs::absolute(file).lexically_normal().string(), " ", bytes, " ",
                   time.time_since_epoch().count());
}

Json geometry_json(const Geometry& geometry) {
  return {{"extent", geometry.extent}, {"affine", geometry.affine}};
}

Geometry parse_geometry(const Json& json) {
  return {json.at("extent").get<std::array<int64_t, 3>>(), json.at("affine").get<Affine>()};
}

/// Adds what it writes or reads to a checksum.
class Checksum {
 public:
  void add(const void* data, size_t bytes) {
    if (bytes > 0) crc_ = crc32_z(crc_, static_cast<const Bytef*>(data), bytes);
  }
  uint32_t value() const { return static_cast<uint32_t>(crc_); }

 private:
  uLong crc_ = 0;
};

void write_sample(const fs::path& file, const Sample& sample, const std::string& key) {
  const std::string header = Json{{"key", key},
                                  {"id", sample.id},
                                  {"channels", sample.channels},
                                  {"labels", !sample.labels.empty()},
                                  {"geometry", geometry_json(sample.geometry)},
                                  {"original", geometry_json(sample.original)}}
                                 .dump();
  const uint64_t header_bytes = header.size();
  AtomicFile out(file);
  Checksum checksum;
  const auto write = [&](const void* data, size_t bytes) {
    checksum.add(data, bytes);
    out.write(data, bytes);
  };
  write(magic, magic_bytes);
  write(&header_bytes, sizeof header_bytes);
  write(header.data(), header.size());
  write(sample.image.data(), sample.image.size() * sizeof(float));
  write(sample.labels.data(), sample.labels.size());
  const uint32_t crc = checksum.value();
  out.write(&crc, sizeof crc);
  out.commit();
}

/// Throws DataError unless the file is whole; nothing if it was made of something else than `key` says.
std::optional<Sample> read_sample(const fs::path& file, const std::string& key) {
  ByteSource source(file);
  Checksum checksum;
  const auto read = [&](void* data, size_t bytes, const char* field) {
    source.read(data, bytes, field);
    checksum.add(data, bytes);
  };
  char found[magic_bytes];
  read(found, magic_bytes, "magic");
  if (std::memcmp(found, magic, magic_bytes) != 0) {
    if (std::memcmp(found, magic, version_place) == 0) return std::nullopt;  // of another version
    throw_bad_file(file, "magic", "other bytes", "a preprocessed subject", "delete the file");
  }
  uint64_t header_bytes = 0;
  read(&header_bytes, sizeof header_bytes, "header length");
  if (header_bytes > source.file_bytes())
    throw_bad_file(file, "header length", std::to_string(header_bytes), "less than the file has",
                   "delete the file");
  std::string header(header_bytes, '\0');
  read(header.data(), header.size(), "header");
  Sample sample;
  bool labels = false;
  try {
    const Json json = Json::parse(header);
    if (json.at("key").get<std::string>() != key) return std::nullopt;
    sample.id = json.at("id").get<std::string>();
    sample.channels = json.at("channels").get<int64_t>();
    labels = json.at("labels").get<bool>();
    sample.geometry = parse_geometry(json.at("geometry"));
    sample.original = parse_geometry(json.at("original"));
  } catch (const nlohmann::json::exception& error) {
    throw_bad_file(file, "header", error.what(), "a whole header", "delete the file");
  }
  sample.extent = sample.geometry.extent;
  // In floating point, so that damaged extents cannot overflow.
  const double voxels = static_cast<double>(sample.extent[0]) * static_cast<double>(sample.extent[1]) *
                        static_cast<double>(sample.extent[2]),
               needed = static_cast<double>(source.position()) + sizeof(uint32_t) +
                        voxels * (static_cast<double>(sample.channels) * sizeof(float) + (labels ? 1 : 0));
  if (needed != static_cast<double>(source.file_bytes()))
    throw_bad_file(file, "file", join_text(source.file_bytes(), " bytes"), join_text(needed, " bytes"),
                   "delete the file");
  sample.image.resize(static_cast<size_t>(sample.voxels() * sample.channels));
  read(sample.image.data(), sample.image.size() * sizeof(float), "image");
  if (labels) sample.labels.resize(static_cast<size_t>(sample.voxels()));
  read(sample.labels.data(), sample.labels.size(), "labels");
  uint32_t crc = 0;
  source.read(&crc, sizeof crc, "checksum");
  if (crc != checksum.value())
    throw_bad_file(file, "checksum", join_text(checksum.value()), join_text(crc), "delete the file");
  return sample;
}

}  // namespace

SampleCache::SampleCache(fs::path folder, const std::vector<std::string>& channels,
                         const Preprocessing& preprocessing, const LabelSchema& schema)
    : folder_(std::move(folder)), channels_(channels), preprocessing_(preprocessing), schema_(schema) {
  std::ostringstream text;
  text << "channels";
  for (const std::string& channel : channels) text << " " << channel;
  text << "; preprocessing " << preprocessing.text() << "; labels " << schema.name << ";";
  parameters_ = text.str();
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error || !fs::is_directory(folder_, error)) {
    warn(folder_.string() + ": the cache folder cannot be made (" +
         (error ? error.message() : std::string("there is a file of that name")) +
         "), so subjects are preprocessed in every epoch; name another with --cache, or none");
    writable_ = false;
  }
}

void SampleCache::warn(std::string line) {
  const std::lock_guard lock(mutex_);
  warnings_.push_back(std::move(line));
}

std::vector<std::string> SampleCache::take_warnings() {
  const std::lock_guard lock(mutex_);
  return std::exchange(warnings_, {});
}

std::string SampleCache::key_of(const SubjectFiles& subject) const {
  std::string key = parameters_;
  for (const std::string& channel : channels_) {
    const auto file = subject.images.find(channel);
    if (file != subject.images.end()) key += "\n" + file_key(file->second);
  }
  if (subject.segmentation) key += "\n" + file_key(*subject.segmentation);
  return key;
}

fs::path SampleCache::file_of(const std::string& id) const {
  return folder_ / (id + "-" + hexadecimal(fnv1a(parameters_)) + ".sample");
}

std::optional<Sample> SampleCache::read(const SubjectFiles& subject) {
  const fs::path file = file_of(subject.id);
  std::error_code error;
  if (!fs::exists(file, error)) return std::nullopt;
  try {
    return read_sample(file, key_of(subject));
  } catch (const std::exception& reason) {
    warn(std::string(reason.what()) + " (a cached subject: it is made again)");
    return std::nullopt;
  }
}

void SampleCache::write(const SubjectFiles& subject, const Sample& sample, const std::string& key) {
  const std::lock_guard one_at_a_time(writing_);
  {
    const std::lock_guard lock(mutex_);
    if (!writable_) return;
  }
  if (key_of(subject) != key) return;  // changed while it was read: there is no telling what the sample holds
  try {
    write_sample(file_of(subject.id), sample, key);
  } catch (const std::exception& reason) {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(writable_, false)) return;
    warnings_.push_back(std::string(reason.what()) +
                        "; the run goes on without writing to the cache (--cache names another folder)");
  }
}

Sample SampleCache::load(const SubjectFiles& subject, Purpose purpose) {
  if (std::optional<Sample> kept = read(subject)) return *std::move(kept);
  const std::string key = key_of(subject);
  Sample sample = load_subject(subject, channels_, preprocessing_, schema_, purpose);
  write(subject, sample, key);
  return sample;
}

}  // namespace vg::data
