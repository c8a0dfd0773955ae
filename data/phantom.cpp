#include "data/phantom.h"

#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>

#include "data/nifti_io.h"
#include "data/phantom_anatomy.h"
#include "data/phantom_subject.h"
#include "engine/atomic_file.h"
#include "kernels/common/check.h"

namespace vg::data {
namespace {

namespace fs = std::filesystem;
using kernels::require;

constexpr const char* kMarker = "phantom.json";
// A subject in the making takes some 250 MB.
constexpr int kMostThreads = 16;

void check(const PhantomOptions& options) {
  require(options.count > 0, "phantom: count is ", options.count, ", expected at least 1");
  require(options.first_index >= 0 && options.first_index + options.count <= (int64_t{1} << 31),
          "phantom: first_index is ", options.first_index, ", expected 0 or more (and indices below 2^31)");
  require(options.voxel_size >= 0.5 && options.voxel_size <= 8, "phantom: voxel_size is ", options.voxel_size,
          " mm, expected 0.5 to 8");
  require(!options.procedural || options.anatomy.empty(),
          "phantom: both an anatomy file and the procedural brain are asked for, expected one of them");
}

/// Makes the folder, refuses one that holds somebody else's subjects, and marks it.
void prepare(const fs::path& folder, const PhantomOptions& options, const std::string& anatomy) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw DataError(folder.string() + ": cannot make the folder (" + error.message() + "); choose another");
  if (!fs::exists(folder / kMarker)) {
    for (int64_t n = 0; n < options.count; ++n) {
      const fs::path subject = folder / phantom_subject_id(options.first_index + n);
      if (fs::exists(subject)) {
        throw DataError(subject.string() + ": exists, and " + kMarker + " does not mark " + folder.string() +
                        " as a phantom data set; nothing is overwritten, choose another folder");
      }
    }
  }
  const nlohmann::ordered_json marker{
      {"what", "synthetic subjects made by voxgrad phantom; not patient data"},
      {"seed", options.seed},
      {"count", options.count},
      {"first_index", options.first_index},
      {"anatomy", anatomy},
      {"voxel_size_mm", options.voxel_size}};
  write_file_atomically(folder / kMarker, marker.dump(2) + "\n");
}

void write_subject(const fs::path& folder, const std::string& id, const PhantomSubject& subject) {
  const fs::path own = folder / id;
  std::error_code error;
  fs::create_directories(own, error);
  if (error) throw DataError(own.string() + ": cannot make the folder (" + error.message() + ")");
  for (size_t m = 0; m < phantom_modalities.size(); ++m) {
    write_image(own / (id + "_" + phantom_modalities[m] + ".nii.gz"), subject.image(m), VoxelType::int16);
  }
  write_label_map(own / (id + "_seg.nii.gz"), subject.label_map());
}

}  // namespace

std::string phantom_subject_id(int64_t index) {
  char name[48];
  std::snprintf(name, sizeof name, "BraTS20_Training_%03lld", static_cast<long long>(index));
  return name;
}

void make_phantom_dataset(const fs::path& folder, const PhantomOptions& options,
                          const PhantomProgress& progress, const Warn& warn) {
  check(options);
  const Anatomy anatomy = choose_anatomy(options.anatomy, options.procedural, options.voxel_size, warn);
  prepare(folder, options, anatomy.source);
  std::mutex mutex;
  std::exception_ptr failure;
  int64_t done = 0;
  const int threads =
      static_cast<int>(std::min<int64_t>({omp_get_max_threads(), options.count, kMostThreads}));
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t n = 0; n < options.count; ++n) {
    {
      const std::lock_guard lock(mutex);
      if (failure) continue;
    }
    try {
      const std::string id = phantom_subject_id(options.first_index + n);
      write_subject(folder, id,
                    make_phantom_subject(anatomy, options.seed, options.first_index + n, options.voxel_size));
      const std::lock_guard lock(mutex);
      ++done;
      if (progress) progress(done, options.count, id);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace vg::data
