#include "apps/figure_subject.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "apps/label_files.h"
#include "data/geometry.h"
#include "data/nifti_io.h"
#include "data/transforms.h"

namespace vg::apps {

namespace {

constexpr std::array<const char*, 3> kAxisNames{"sagittal", "coronal", "axial"};

void check_grid(const data::Geometry& found, const std::filesystem::path& file,
                const data::Geometry& expected, const std::filesystem::path& prediction) {
  if (found.extent != expected.extent)
    throw data::DataError(file.string() + ": size: found " + extent_text(found.extent) + ", expected " +
                          extent_text(expected.extent) + " of " + prediction.string() +
                          "; take files of the same subject");
  const double distance = data::grid_distance(found, expected);
  if (!(distance < 0.01)) {
    char millimetres[32];
    std::snprintf(millimetres, sizeof millimetres, "%.3g", distance);
    throw data::DataError(file.string() + ": affine: found a grid up to " + millimetres + " mm away from " +
                          prediction.string() +
                          ", expected the same; take files of the same subject, or correct the header");
  }
}

// Grey values in 0..255: 0 stays with voxels at or below the dark end, so that what lies outside a
// skull-stripped brain can be told from dark tissue.
data::LabelMap to_grey(const data::Image& image, const std::string& source, const data::Warn& warn) {
  data::RescaleParams params;
  params.out_min = 0;
  params.out_max = 255;
  params.lower_percentile = 0.5;
  params.upper_percentile = 99.8;
  const data::Image scaled =
      data::rescale_intensity(image, params, [&](const std::string& line) { warn(source + ": " + line); });
  data::LabelMap grey{image.geometry, std::vector<uint8_t>(image.voxels.size())};
  for (size_t i = 0; i < grey.voxels.size(); ++i)
    grey.voxels[i] = static_cast<uint8_t>(std::ceil(std::clamp(scaled.voxels[i], 0.0F, 255.0F)));
  return grey;
}

int64_t tumour_voxels(std::span<const uint8_t> slice) {
  return static_cast<int64_t>(slice.size()) - std::count(slice.begin(), slice.end(), uint8_t{0});
}

}  // namespace

SliceAxis parse_slice_axis(const std::string& name) {
  const auto it = std::find(kAxisNames.begin(), kAxisNames.end(), name);
  if (it == kAxisNames.end())
    throw std::invalid_argument("axis: found \"" + name + "\", expected sagittal, coronal or axial");
  return static_cast<SliceAxis>(it - kAxisNames.begin());
}

std::string to_string(SliceAxis axis) {
  return kAxisNames[static_cast<size_t>(axis)];
}

const SliceOrder& slice_order(SliceAxis axis) {
  static constexpr std::array<SliceOrder, 3> orders{{
      {1, 2, 0, 'P', 'I', 'R', 'A', 'S'},  // sagittal
      {0, 2, 1, 'L', 'I', 'A', 'R', 'S'},  // coronal
      {0, 1, 2, 'L', 'P', 'S', 'R', 'A'},  // axial
  }};
  return orders[static_cast<size_t>(axis)];
}

SliceStack stack_slices(const data::LabelMap& canonical, SliceAxis axis) {
  const SliceOrder& order = slice_order(axis);
  const auto& extent = canonical.geometry.extent;
  const std::array<int64_t, 3> strides{1, extent[0], extent[0] * extent[1]};
  const auto of = [](const std::array<int64_t, 3>& values, int index) {
    return values[static_cast<size_t>(index)];
  };
  SliceStack stack{of(extent, order.across), of(extent, order.down), of(extent, order.along), {}};
  stack.voxels.reserve(canonical.voxels.size());
  const int64_t across = of(strides, order.across), down = of(strides, order.down);
  for (int64_t slice = 0; slice < stack.slices; ++slice) {
    for (int64_t y = stack.height - 1; y >= 0; --y) {
      const int64_t row = slice * of(strides, order.along) + y * down;
      for (int64_t x = stack.width - 1; x >= 0; --x)
        stack.voxels.push_back(canonical.voxels[static_cast<size_t>(row + x * across)]);
    }
  }
  return stack;
}

int64_t FigureSubject::slice_with_most_tumour() const {
  for (const SliceStack* stack : {truth ? &*truth : nullptr, &prediction}) {
    if (stack == nullptr) continue;
    int64_t best = -1, most = 0;
    for (int64_t index = 0; index < stack->slices; ++index) {
      const int64_t count = tumour_voxels(stack->slice(index));
      if (count > most) {
        most = count;
        best = index;
      }
    }
    if (best >= 0) return best;
  }
  return prediction.slices / 2;
}

FigureSubject load_figure_subject(const FigureFiles& files, SliceAxis axis, const data::LabelSchema& schema,
                                  const data::Warn& warn) {
  FigureSubject subject;
  subject.id = files.id;
  subject.axis = axis;
  subject.schema = &schema;
  const data::LabelMap labels = data::read_label_map(files.prediction, warn);
  const auto classes = [&](const data::LabelMap& map, const std::filesystem::path& file) {
    return data::to_canonical(data::labels_to_classes(map, schema, file.string()));
  };
  const data::LabelMap predicted = classes(labels, files.prediction);
  subject.prediction = stack_slices(predicted, axis);
  const SliceOrder& order = slice_order(axis);
  const auto spacing = predicted.geometry.spacing();
  subject.spacing = {spacing[static_cast<size_t>(order.across)], spacing[static_cast<size_t>(order.down)],
                     spacing[static_cast<size_t>(order.along)]};
  if (files.truth) {
    const data::LabelMap truth = data::read_label_map(*files.truth, warn);
    check_grid(truth.geometry, *files.truth, labels.geometry, files.prediction);
    const data::LabelMap expected = classes(truth, *files.truth);
    subject.truth = stack_slices(expected, axis);
    ConfusionMatrix matrix(schema.classes());
    matrix.add(expected.voxels, predicted.voxels);
    subject.scores = overlaps(matrix, schema);
  }
  if (files.image) {
    data::Image image = data::read_image(*files.image, warn);
    check_grid(image.geometry, *files.image, labels.geometry, files.prediction);
    if (const int64_t bad = data::replace_nonfinite(image); bad > 0)
      warn(files.image->string() + ": " + std::to_string(bad) + " NaN or infinite voxels are drawn as 0");
    subject.image = stack_slices(data::to_canonical(to_grey(image, files.image->string(), warn)), axis);
    subject.image_name = nifti_stem(files.image->filename().string());
  }
  return subject;
}

void check_slice(const FigureSubject& subject, int64_t slice) {
  if (slice < 0 || slice >= subject.prediction.slices)
    throw std::invalid_argument("--slice: found " + std::to_string(slice) + ", expected 0 to " +
                                std::to_string(subject.prediction.slices - 1) + " (" +
                                to_string(subject.axis) + " slices of " + subject.id + ")");
}

std::span<const Colour> class_colours() {
  static constexpr std::array<Colour, 5> colours{{
      kBlack,
      {213, 94, 0},    // vermilion
      {0, 158, 115},   // bluish green
      {240, 228, 66},  // yellow
      {86, 180, 233},  // sky blue
  }};
  return colours;
}

}  // namespace vg::apps
