#include "data/brats_dataset.h"

#include <algorithm>
#include <set>

#include "kernels/common/check.h"

namespace vg::data {
namespace {

namespace fs = std::filesystem;

constexpr int kDeepest = 3;

/// name without ".nii.gz" or ".nii"; nothing for other files.
std::optional<std::string> without_extension(const std::string& name) {
  for (const char* extension : {".nii.gz", ".nii"}) {
    if (name.size() > std::string(extension).size() && name.ends_with(extension)) {
      return name.substr(0, name.size() - std::string(extension).size());
    }
  }
  return std::nullopt;
}

/// Every regular file in the folder and at most kDeepest levels below, sorted.
std::vector<fs::path> files_below(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    throw DataError(folder.string() + ": " +
                    (fs::exists(folder, error) ? "is not a folder" : "does not exist") +
                    ", expected a folder of BraTS subjects");
  }
  std::vector<fs::path> files;
  fs::recursive_directory_iterator it(folder, fs::directory_options::follow_directory_symlink, error), end;
  while (!error && it != end) {
    std::error_code ignored;  // a dangling link is no regular file
    if (it.depth() >= kDeepest) it.disable_recursion_pending();
    if (it->is_regular_file(ignored)) files.push_back(it->path());
    it.increment(error);
  }
  if (error)
    throw DataError(folder.string() + ": cannot be listed (" + error.message() + "); check permissions");
  std::sort(files.begin(), files.end());
  return files;
}

using SubjectKey = std::pair<std::string, fs::path>;  // id, folder

/// Groups files by the edition's suffixes.
std::map<SubjectKey, SubjectFiles> group(const std::vector<fs::path>& files, const BratsEdition& edition,
                                         const Warn& warn) {
  std::map<SubjectKey, SubjectFiles> subjects;
  const auto take = [&](const fs::path& file, const std::string& stem,
                        const std::string& suffix) -> SubjectFiles* {
    if (stem.size() <= suffix.size() || !stem.ends_with(suffix)) return nullptr;
    const std::string id = stem.substr(0, stem.size() - suffix.size());
    SubjectFiles& subject = subjects[{id, file.parent_path()}];
    subject.id = id;
    subject.folder = file.parent_path();
    return &subject;
  };
  // ".nii" sorts before ".nii.gz", so the latter replaces the former.
  const auto place = [&](const fs::path& file, const fs::path& before) {
    if (warn && !before.empty()) {
      warn(file.string() + ": the same scan is there as " + before.filename().string() + "; " +
           file.filename().string() + " is used, remove one");
    }
    return file;
  };
  for (const fs::path& file : files) {
    const auto stem = without_extension(file.filename().string());
    if (!stem) continue;
    for (const ModalitySuffix& m : edition.modalities) {
      if (SubjectFiles* s = take(file, *stem, m.suffix))
        s->images[m.modality] = place(file, s->images[m.modality]);
    }
    if (SubjectFiles* s = take(file, *stem, edition.segmentation_suffix)) {
      s->segmentation = place(file, s->segmentation.value_or(fs::path()));
    }
  }
  return subjects;
}

std::string join(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

/// What the subject lacks, as "t1ce (expected ID_t1ce.nii.gz or .nii)"; empty if it is complete.
std::vector<std::string> missing_parts(const SubjectFiles& subject, const DatasetOptions& options,
                                       const BratsEdition& edition) {
  std::vector<std::string> missing;
  const auto expect = [&](const std::string& what, const std::string& suffix) {
    missing.push_back(what + " (expected " + subject.id + suffix + ".nii.gz or .nii)");
  };
  for (const std::string& channel : options.channels) {
    if (!subject.images.contains(channel)) expect(channel, edition.suffix(channel));
  }
  if (options.purpose == Purpose::training && !subject.segmentation) {
    expect("the segmentation", edition.segmentation_suffix);
  }
  return missing;
}

/// Other files in the subject's folder: often a misnamed one is what is missing.
std::string other_files(const SubjectFiles& subject, const std::vector<fs::path>& files) {
  std::vector<std::string> others;
  for (const fs::path& file : files) {
    if (file.parent_path() != subject.folder || !without_extension(file.filename().string())) continue;
    bool used = subject.segmentation == file;
    for (const auto& [modality, path] : subject.images) used = used || path == file;
    if (!used && others.size() < 4) others.push_back(file.filename().string());
  }
  return others.empty() ? "" : "; other files there: " + join(others);
}

[[noreturn]] void throw_empty(const fs::path& folder, const std::vector<fs::path>& files,
                              const BratsEdition& edition, const std::vector<std::string>& skipped) {
  std::string message = folder.string() + ": found no ";
  if (!skipped.empty()) {
    message += "complete subject (" + std::to_string(skipped.size()) +
               " incomplete, the first: " + skipped.front() + ")";
    throw DataError(message);
  }
  message += "subject of BraTS " + edition.name + ", expected files like ID/ID" +
             edition.modalities[0].suffix + ".nii.gz";
  for (const BratsEdition& other : brats_editions()) {
    if (other.segmentation_suffix == edition.segmentation_suffix) continue;
    const auto others = group(files, other, {});
    if (others.empty()) continue;
    message += "; the " + std::to_string(others.size()) + " subjects there are named as in BraTS " +
               other.name + ": name the year with --year";
    break;
  }
  throw DataError(message);
}

}  // namespace

const std::vector<std::string>& default_channels() {
  static const std::vector<std::string> channels{"t1", "t2", "t1ce", "flair"};
  return channels;
}

void check_channels(const std::vector<std::string>& channels, const BratsEdition& edition) {
  kernels::require(!channels.empty(), "channels: found none, expected at least one modality");
  std::set<std::string> seen;
  for (const std::string& channel : channels) {
    edition.suffix(channel);  // throws for an unknown one
    kernels::require(seen.insert(channel).second, "channels: \"", channel,
                     "\" is named twice, expected once");
  }
}

std::vector<std::string> SubjectList::ids() const {
  std::vector<std::string> names;
  for (const SubjectFiles& subject : subjects) names.push_back(subject.id);
  return names;
}

const SubjectFiles& SubjectList::find(const std::string& id) const {
  const auto found =
      std::find_if(subjects.begin(), subjects.end(), [&](const auto& s) { return s.id == id; });
  if (found == subjects.end()) throw DataError("subject " + id + " is not in the data set");
  return *found;
}

SubjectList list_subjects(const fs::path& folder, const DatasetOptions& options, const Warn& warn) {
  const BratsEdition& edition = brats_edition(options.year);
  check_channels(options.channels, edition);
  const std::vector<fs::path> files = files_below(folder);
  SubjectList list;
  for (auto& [key, subject] : group(files, edition, warn)) {
    const auto missing = missing_parts(subject, options, edition);
    if (!missing.empty()) {
      const std::string line = subject.folder.string() + ": subject " + subject.id + " lacks " +
                               join(missing) + other_files(subject, files);
      if (options.purpose == Purpose::prediction) throw DataError(line);
      if (warn) warn(line + "; skipped");
      list.skipped.push_back(line);
      continue;
    }
    if (!list.subjects.empty() && list.subjects.back().id == subject.id) {
      throw DataError(folder.string() + ": subject " + subject.id + " occurs twice, in " +
                      list.subjects.back().folder.string() + " and " + subject.folder.string() +
                      ", expected once; remove one");
    }
    list.subjects.push_back(std::move(subject));
  }
  if (list.subjects.empty()) throw_empty(folder, files, edition, list.skipped);
  return list;
}

}  // namespace vg::data
