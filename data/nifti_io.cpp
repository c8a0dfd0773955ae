#include "data/nifti_io.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>

#include "data/nifti_header.h"

namespace vg::data {
namespace {

namespace fs = std::filesystem;

/// Bytes that can be allocated without swapping: what the kernel estimates, or less in a limited container.
uint64_t available_memory_bytes() {
  uint64_t available =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.rfind("MemAvailable:", 0) != 0) continue;
    available = std::stoull(line.substr(13)) * 1024;
    break;
  }
  uint64_t limit = 0, used = 0;
  std::ifstream limit_file("/sys/fs/cgroup/memory.max"), used_file("/sys/fs/cgroup/memory.current");
  if (limit_file >> limit && used_file >> used)
    available = std::min(available, limit > used ? limit - used : 0);
  return available;
}

void check_memory(const ParsedHeader& header, size_t bytes_per_voxel, const fs::path& file) {
  const uint64_t available = available_memory_bytes();
  const uint64_t voxels = static_cast<uint64_t>(header.voxels);
  if (voxels <= available / bytes_per_voxel) return;
  throw_bad_file(file, "dim",
                 join_text(voxels, " voxels, which need ", voxels / (1 << 20) * bytes_per_voxel, " MiB"),
                 join_text("at most the ", available >> 20, " MiB of memory that are free"),
                 "use a machine with more memory, or crop or split the image");
}

std::string show_extents(const std::vector<int64_t>& extents) {
  std::ostringstream text;
  text << extents.size() << "D ";
  for (size_t axis = 0; axis < extents.size(); ++axis) text << (axis == 0 ? "" : "x") << extents[axis];
  return text.str();
}

/// Throws unless the file holds one 3D volume.
void require_one_volume(const ParsedHeader& header, const fs::path& file) {
  const std::vector<int64_t>& extents = header.info.extents;
  if (extents.size() >= 3 &&
      std::all_of(extents.begin() + 3, extents.end(), [](int64_t extent) { return extent == 1; }))
    return;
  throw_bad_file(
      file, "dim", show_extents(extents), "a 3D volume",
      extents.size() < 3
          ? "stack the slices into one file"
          : "split it into one file a volume, or name it as a data set whose modalities share a 4D file");
}

/// Hands the voxels, converted from the file's type T, to sink(index, value) in memory order.
template <class T, class Sink>
void convert_voxels(ByteSource& source, const ParsedHeader& header, const Sink& sink) {
  constexpr int64_t voxels_at_once = (int64_t{1} << 20) / static_cast<int64_t>(sizeof(T));
  std::vector<T> buffer(static_cast<size_t>(std::min(header.voxels, voxels_at_once)));
  for (int64_t begin = 0; begin < header.voxels; begin += voxels_at_once) {
    const int64_t count = std::min(voxels_at_once, header.voxels - begin);
    source.read(buffer.data(), static_cast<size_t>(count) * sizeof(T), "voxel data");
    if (header.info.byte_swapped && sizeof(T) > 1) nifti_swap_Nbytes(count, sizeof(T), buffer.data());
    for (int64_t i = 0; i < count; ++i) sink(begin + i, buffer[static_cast<size_t>(i)]);
  }
}

template <class Sink>
void read_voxels(ByteSource& source, const ParsedHeader& header, const Sink& sink) {
  switch (header.datatype) {
    case DT_UINT8:
      return convert_voxels<uint8_t>(source, header, sink);
    case DT_INT8:
      return convert_voxels<int8_t>(source, header, sink);
    case DT_INT16:
      return convert_voxels<int16_t>(source, header, sink);
    case DT_UINT16:
      return convert_voxels<uint16_t>(source, header, sink);
    case DT_INT32:
      return convert_voxels<int32_t>(source, header, sink);
    case DT_UINT32:
      return convert_voxels<uint32_t>(source, header, sink);
    case DT_INT64:
      return convert_voxels<int64_t>(source, header, sink);
    case DT_UINT64:
      return convert_voxels<uint64_t>(source, header, sink);
    case DT_FLOAT:
      return convert_voxels<float>(source, header, sink);
    case DT_DOUBLE:
      return convert_voxels<double>(source, header, sink);
    default:
      throw std::logic_error("parse_header let an unsupported datatype pass");
  }
}

/// All voxels as float, scaled in double, in the file's order.
std::vector<float> read_scaled(ByteSource& source, const ParsedHeader& header, const fs::path& file,
                               const Warn& warn) {
  check_memory(header, sizeof(float), file);
  std::vector<float> voxels(static_cast<size_t>(header.voxels));
  const double slope = header.info.slope, intercept = header.info.intercept;
  if (slope == 1 && intercept == 0) {
    read_voxels(source, header,
                [&](int64_t i, auto value) { voxels[static_cast<size_t>(i)] = static_cast<float>(value); });
  } else {
    read_voxels(source, header, [&](int64_t i, auto value) {
      voxels[static_cast<size_t>(i)] = static_cast<float>(static_cast<double>(value) * slope + intercept);
    });
  }
  source.finish(warn);
  return voxels;
}

/// Values that cannot be labels, with their counts; a few are shown.
class BadLabels {
 public:
  void add(double value) {
    ++total_;
    if (std::isnan(value)) {
      ++nan_;
    } else if (counts_.size() < kept || counts_.count(value) != 0) {
      ++counts_[value];
    }
  }
  bool any() const { return total_ > 0; }
  std::string text() const {
    std::ostringstream text;
    int64_t shown = nan_;
    if (nan_ > 0) text << "NaN (" << nan_ << " voxels)";
    for (const auto& [value, count] : counts_) {
      text << (shown > 0 ? ", " : "") << value << " (" << count << " voxels)";
      shown += count;
    }
    if (shown < total_) text << " and others (" << total_ - shown << " voxels)";
    return text.str();
  }

 private:
  static constexpr size_t kept = 8;
  std::map<double, int64_t> counts_;
  int64_t nan_ = 0, total_ = 0;
};

}  // namespace

NiftiInfo read_nifti_info(const fs::path& file, const Warn& warn) {
  ByteSource source(file);
  return parse_header(source, file, warn).info;
}

Image read_image(const fs::path& file, const Warn& warn) {
  ByteSource source(file);
  const ParsedHeader header = parse_header(source, file, warn);
  require_one_volume(header, file);
  return {header.info.geometry, read_scaled(source, header, file, warn)};
}

std::vector<Image> read_image_series(const fs::path& file, const Warn& warn) {
  ByteSource source(file);
  const ParsedHeader header = parse_header(source, file, warn);
  const std::vector<int64_t>& extents = header.info.extents;
  if (extents.size() < 4 ||
      !std::all_of(extents.begin() + 4, extents.end(), [](int64_t extent) { return extent == 1; }))
    throw_bad_file(file, "dim", show_extents(extents), "a 4D file with one volume a modality",
                   "merge the modalities into one 4D file, or use a layout with one file a modality");
  const std::vector<float> voxels = read_scaled(source, header, file, warn);
  const int64_t volume = header.info.geometry.voxels();
  std::vector<Image> images;
  for (int64_t index = 0; index < extents[3]; ++index)
    images.push_back({header.info.geometry, std::vector<float>(voxels.begin() + index * volume,
                                                               voxels.begin() + (index + 1) * volume)});
  return images;
}

LabelMap read_label_map(const fs::path& file, const Warn& warn) {
  ByteSource source(file);
  const ParsedHeader header = parse_header(source, file, warn);
  require_one_volume(header, file);
  check_memory(header, sizeof(uint8_t), file);
  LabelMap labels{header.info.geometry, std::vector<uint8_t>(static_cast<size_t>(header.voxels))};
  const double slope = header.info.slope, intercept = header.info.intercept;
  BadLabels bad;
  read_voxels(source, header, [&](int64_t i, auto raw) {
    const double value = static_cast<double>(raw) * slope + intercept;
    const double rounded = std::nearbyint(value);
    if (!(std::abs(value - rounded) <= 1e-3) || rounded < 0 || rounded > 255) return bad.add(value);
    labels.voxels[static_cast<size_t>(i)] = static_cast<uint8_t>(rounded);
  });
  source.finish(warn);
  if (bad.any())
    throw_bad_file(file, "labels", bad.text(), "whole numbers from 0 to 255",
                   "check that this is a segmentation and not an image or a resampled one");
  return labels;
}

std::shared_ptr<const NiftiTemplate> read_nifti_template(const fs::path& file) {
  ByteSource source(file);
  const ParsedHeader header = parse_header(source, file, {});
  require_one_volume(header, file);
  auto result = std::make_shared<NiftiTemplate>();
  result->raw = header.raw;
  result->geometry = header.info.geometry;
  return result;
}

}  // namespace vg::data
