#include "apps/score_files.h"

#include "apps/label_files.h"
#include "data/nifti_io.h"

namespace vg::apps {

SubjectScores score_files(const std::string& id, const std::filesystem::path& predicted,
                          const std::filesystem::path& reference, const data::LabelSchema& schema,
                          const data::Warn& warn) {
  const data::LabelMap p = data::read_label_map(predicted, warn), r = data::read_label_map(reference, warn);
  if (p.geometry.extent != r.geometry.extent) {
    throw data::DataError(predicted.string() + ": size: found " + extent_text(p.geometry.extent) +
                          ", expected " + extent_text(r.geometry.extent) + " of " + reference.string() +
                          "; predict on the grid of the reference");
  }
  ConfusionMatrix matrix(schema.classes());
  matrix.add(data::labels_to_classes(r, schema, reference.string()).voxels,
             data::labels_to_classes(p, schema, predicted.string()).voxels);
  return subject_scores(id, matrix, schema);
}

}  // namespace vg::apps
