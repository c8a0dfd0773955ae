#include <omp.h>

#include <algorithm>
#include <bit>
#include <exception>
#include <sstream>

#include "data/brats_dataset.h"
#include "data/geometry.h"
#include "data/network_order.h"
#include "data/nifti_io.h"

namespace vg::data {
namespace {

namespace fs = std::filesystem;

// Rounding of an affine to float32 moves the corners of a scan by less than the first; the second is an
// error.
constexpr double kRoundingMillimetres = 1e-4, kToleranceMillimetres = 1e-3;

/// What is known of a file once it is read; the voxels are already in the sample.
struct Loaded {
  fs::path file;
  Geometry original;
  uint64_t fingerprint = 0;
  bool constant = false;
  std::vector<std::string> warnings;
  std::exception_ptr error;
};

/// A number that differs, in all likelihood, for volumes that differ.
uint64_t fingerprint(const std::vector<float>& voxels) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a over 32-bit words
  for (float v : voxels) hash = (hash ^ std::bit_cast<uint32_t>(v)) * 0x100000001b3u;
  return hash;
}

std::string describe(const Geometry& g) {
  std::ostringstream text;
  text << g.extent[0] << "x" << g.extent[1] << "x" << g.extent[2] << " with affine [";
  for (size_t r = 0; r < 3; ++r) {
    text << (r ? ",[" : "[");
    for (size_t c = 0; c < 4; ++c) text << (c ? "," : "") << g.affine[r][c];
    text << "]";
  }
  text << "]";
  return text.str();
}

void check_same_grid(const Loaded& first, const Loaded& other, const Warn& warn) {
  const double distance = grid_distance(first.original, other.original);
  if (distance <= kRoundingMillimetres) return;
  const std::string both = other.file.string() + ": grid: found " + describe(other.original) + ", but " +
                           first.file.filename().string() + " has " + describe(first.original);
  if (!(distance <= kToleranceMillimetres)) {
    throw DataError(both + "; expected one grid for all files of a subject, register or correct the file");
  }
  if (warn)
    warn(both + "; the difference is below " + std::to_string(kToleranceMillimetres) + " mm and is ignored");
}

Image read_channel(Loaded& loaded, Purpose purpose, const Warn& warn) {
  Image image = read_image(loaded.file, warn);
  loaded.original = image.geometry;
  const int64_t bad = count_nonfinite(image);
  if (bad > 0) {
    const std::string found =
        loaded.file.string() + ": voxels: found " + std::to_string(bad) + " NaN or infinite values";
    if (purpose == Purpose::training)
      throw DataError(found + ", expected none; repair or remove the subject");
    replace_nonfinite(image);
    warn(found + ", set to 0");
  }
  loaded.constant =
      std::all_of(image.voxels.begin(), image.voxels.end(), [&](float v) { return v == image.voxels[0]; });
  if (loaded.constant) {
    std::ostringstream value;
    value << image.voxels[0];
    warn(loaded.file.string() + ": voxels: all are " + value.str() +
         ", expected an image; it tells the network nothing");
  }
  loaded.fingerprint = fingerprint(image.voxels);
  return image;
}

/// All that concerns one file, up to preprocessing. Runs beside the other files: writes to `loaded` alone.
struct FileTask {
  const Preprocessing& preprocessing;
  const LabelSchema& schema;
  Purpose purpose;

  Image image(Loaded& loaded) const {
    const Warn warn = [&](const std::string& line) { loaded.warnings.push_back(line); };
    const Image raw = read_channel(loaded, purpose, warn);
    try {
      // A constant volume has been reported, with its file.
      return preprocessing.apply(raw, loaded.constant ? Warn() : warn);
    } catch (const DataError& error) {
      throw DataError(loaded.file.string() + ": " + error.what());
    }
  }

  LabelMap labels(Loaded& loaded) const {
    const Warn warn = [&](const std::string& line) { loaded.warnings.push_back(line); };
    const LabelMap raw = read_label_map(loaded.file, warn);
    loaded.original = raw.geometry;
    const LabelMap classes = labels_to_classes(raw, schema, loaded.file.string());
    try {
      return preprocessing.apply(classes);
    } catch (const DataError& error) {
      throw DataError(loaded.file.string() + ": " + error.what());
    }
  }
};

std::vector<Loaded> files_to_load(const SubjectFiles& subject, const std::vector<std::string>& channels,
                                  Purpose purpose) {
  std::vector<Loaded> files;
  for (const std::string& channel : channels) {
    const auto found = subject.images.find(channel);
    if (found == subject.images.end()) {
      throw DataError(subject.folder.string() + ": subject " + subject.id + " lacks " + channel);
    }
    files.emplace_back().file = found->second;
  }
  if (purpose == Purpose::training) {
    if (!subject.segmentation) {
      throw DataError(subject.folder.string() + ": subject " + subject.id + " lacks the segmentation");
    }
    files.emplace_back().file = *subject.segmentation;
  }
  return files;
}

void check_files(const std::vector<Loaded>& files, size_t images, const Warn& warn) {
  for (const Loaded& loaded : files) {
    if (warn) {
      for (const std::string& line : loaded.warnings) warn(line);
    }
    if (loaded.error) std::rethrow_exception(loaded.error);
    check_same_grid(files[0], loaded, warn);
  }
  for (size_t a = 0; a < images; ++a) {
    for (size_t b = a + 1; b < images; ++b) {
      if (!warn || files[a].constant || files[a].fingerprint != files[b].fingerprint) continue;
      warn(files[b].file.string() + ": voxels: the same as in " + files[a].file.filename().string() +
           ", expected another modality");
    }
  }
}

}  // namespace

Sample load_subject(const SubjectFiles& subject, const std::vector<std::string>& channels,
                    const Preprocessing& preprocessing, const LabelSchema& schema, Purpose purpose,
                    const Warn& warn) {
  std::vector<Loaded> files = files_to_load(subject, channels, purpose);
  const FileTask task{preprocessing, schema, purpose};
  std::vector<Image> images(channels.size());
  LabelMap labels;
  const int threads = static_cast<int>(std::min<size_t>(files.size(), omp_get_max_threads()));
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (size_t n = 0; n < files.size(); ++n) {
    try {
      if (n < images.size()) {
        images[n] = task.image(files[n]);
      } else {
        labels = task.labels(files[n]);
      }
    } catch (...) {
      files[n].error = std::current_exception();
    }
  }
  check_files(files, images.size(), warn);

  Sample sample;
  sample.id = subject.id;
  sample.original = files[0].original;
  sample.geometry = images[0].geometry;
  sample.extent = sample.geometry.extent;
  sample.channels = static_cast<int64_t>(images.size());
  sample.image.resize(sample.voxels() * sample.channels);
  for (size_t c = 0; c < images.size(); ++c) {
    pack_image(images[c], std::span(sample.image).subspan(c * sample.voxels(), sample.voxels()));
  }
  if (purpose == Purpose::training) {
    sample.labels.resize(sample.voxels());
    pack_labels(labels, sample.labels);
  }
  return sample;
}

}  // namespace vg::data
