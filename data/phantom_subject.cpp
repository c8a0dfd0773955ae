#include "data/phantom_subject.h"

#include <algorithm>
#include <cmath>

#include "data/geometry.h"
#include "data/phantom_noise.h"

namespace vg::data {
namespace {

// Where BraTS places the brain, RAS mm: with this centre and size it fills the field of view as there, and
// the usual crop to 150x188x118 keeps the cerebrum.
constexpr Point kHeadCentre{-119.5, 111, 74};
constexpr Point kHeadLimits{146, 172, 140};
constexpr int kModalities = 4;

/// Contrast of each modality (in the order of phantom_modalities) relative to white matter in T1 = 0.8, and
/// how strongly noise and scale vary.
struct Appearance {
  float fluid, grey, white, oedema, necrosis, enhancing;
};
constexpr std::array<Appearance, kModalities> kAppearances{{
    {0.16f, 0.56f, 0.47f, 0.92f, 0.52f, 0.78f},  // FLAIR: fluid dark, oedema bright
    {0.22f, 0.54f, 0.80f, 0.46f, 0.32f, 0.55f},  // T1
    {0.22f, 0.55f, 0.80f, 0.47f, 0.28f, 1.18f},  // T1 with contrast agent: the rim is bright
    {1.00f, 0.60f, 0.40f, 0.86f, 0.90f, 0.66f},  // T2: fluid bright
}};

/// Everything that is drawn once for a subject's head.
struct Head {
  Affine to_anatomy;  ///< RAS mm of the phantom -> anatomy voxel
  Affine linear;      ///< its 3x3 part, for displacements in mm
};

Head draw_head(const Anatomy& anatomy, PhantomRandom random) {
  double fit = 1e9;
  for (int a = 0; a < 3; ++a) fit = std::min(fit, kHeadLimits[a] / anatomy.size[a]);
  const double mirror = random.chance(0.5f) ? -1 : 1;
  std::array<double, 3> scale, angle, shift;
  for (int a = 0; a < 3; ++a) {
    scale[a] = 1 / (fit * random.uniform(0.95f, 1.05f)) * (a == 0 ? mirror : 1);
    angle[a] = random.uniform(-4, 4) * 3.14159265358979 / 180;
    shift[a] = random.uniform(-2, 2);
  }
  Affine rotation{{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}};
  for (int a = 0; a < 3; ++a) {
    const int p = (a + 1) % 3, q = (a + 2) % 3;
    Affine turn{{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}};
    turn[p][p] = turn[q][q] = std::cos(angle[a]);
    turn[p][q] = -std::sin(angle[a]);
    turn[q][p] = std::sin(angle[a]);
    rotation = compose(turn, rotation);
  }
  Affine to_anatomy_mm{};
  for (int r = 0; r < 3; ++r) {
    to_anatomy_mm[r][3] = anatomy.centre[r];
    for (int c = 0; c < 3; ++c) {
      to_anatomy_mm[r][c] = scale[r] * rotation[r][c];
      to_anatomy_mm[r][3] -= to_anatomy_mm[r][c] * (kHeadCentre[c] + shift[c]);
    }
  }
  Head head{compose(inverse(anatomy.t1.geometry.affine), to_anatomy_mm), {}};
  head.linear = head.to_anatomy;
  for (auto& row : head.linear) row[3] = 0;
  return head;
}

/// Trilinear T1 value of the anatomy over the voxels that are brain; -1 where less than half of the weight
/// is.
float sample_anatomy(const Image& t1, const Point& at) {
  const auto& extent = t1.geometry.extent;
  std::array<int64_t, 3> low;
  std::array<float, 3> t;
  for (int a = 0; a < 3; ++a) {
    const double floor = std::floor(at[a]);
    low[a] = static_cast<int64_t>(floor);
    t[a] = static_cast<float>(at[a] - floor);
    if (low[a] < 0 || low[a] + 1 >= extent[a]) return -1;
  }
  const float* corner = t1.voxels.data() + t1.geometry.index(low[0], low[1], low[2]);
  const int64_t up_j = extent[0], up_k = extent[0] * extent[1];
  float sum = 0, brain = 0;
  for (int c = 0; c < 4; ++c) {
    const float weight = (c & 1 ? t[1] : 1 - t[1]) * (c & 2 ? t[2] : 1 - t[2]);
    const float* pair = corner + (c & 1 ? up_j : 0) + (c & 2 ? up_k : 0);
    const float w0 = weight * (1 - t[0]), w1 = weight * t[0];
    sum += w0 * pair[0] + w1 * pair[1];
    brain += (pair[0] > 0 ? w0 : 0) + (pair[1] > 0 ? w1 : 0);
  }
  return brain >= 0.5f ? sum / brain : -1;
}

/// Tissue within this many mm of a tumour's centre is displaced by it.
double mass_effect_reach(const LesionPlan& lesion) {
  return 2.5 * lesion.core_radius;
}

/// Samples the deformed anatomy. With a tumour, tissue around it is pushed outwards (mass effect).
class HeadSampler {
 public:
  HeadSampler(const Anatomy& anatomy, const Geometry& geometry, const VoxelBox& box, uint64_t seed,
              int64_t index)
      : anatomy_(anatomy),
        geometry_(geometry),
        box_(box),
        voxel_size_(std::fabs(geometry.affine[0][0])),
        head_(draw_head(anatomy, PhantomRandom(seed, index, PhantomStream::head))) {
    for (uint32_t a = 0; a < 3; ++a) {
      fields_.emplace_back(PhantomRandom(seed, index, PhantomStream::displacement, a), box.extent,
                           voxel_size_, 28);
      fields_.emplace_back(PhantomRandom(seed, index, PhantomStream::displacement, 3 + a), box.extent,
                           voxel_size_, 14);
    }
  }

  void sample(std::vector<float>& t1, const VoxelBox& part, const LesionPlan* lesion) const {
    std::array<std::vector<float>, 6> shift;
    shift.fill(std::vector<float>(part.extent[0]));
    for (int64_t k = part.begin[2]; k < part.begin[2] + part.extent[2]; ++k) {
      for (int64_t j = part.begin[1]; j < part.begin[1] + part.extent[1]; ++j) {
        for (int f = 0; f < 6; ++f) {
          fields_[f].row(part.begin[0] - box_.begin[0], j - box_.begin[1], k - box_.begin[2], shift[f]);
        }
        for (int64_t n = 0; n < part.extent[0]; ++n) {
          const int64_t i = part.begin[0] + n;
          Point index{static_cast<double>(i), static_cast<double>(j), static_cast<double>(k)};
          if (lesion) push(index, *lesion);
          const Point mm = to_millimetres(geometry_.affine, index);
          Point moved;
          for (int a = 0; a < 3; ++a) moved[a] = mm[a] + 2.6 * shift[2 * a][n] + 0.9 * shift[2 * a + 1][n];
          t1[box_.index(i, j, k)] = sample_anatomy(anatomy_.t1, to_millimetres(head_.to_anatomy, moved));
        }
      }
    }
  }

 private:
  /// What lies at a voxel came from nearer to the tumour's centre.
  void push(Point& index, const LesionPlan& lesion) const {
    double squared = 0;
    for (int a = 0; a < 3; ++a) {
      const double mm = (index[a] - static_cast<double>(lesion.centre[a])) * voxel_size_;
      squared += mm * mm;
    }
    const double rest = std::max(0.0, 1 - squared / (mass_effect_reach(lesion) * mass_effect_reach(lesion)));
    const double pull = 0.28 * rest * rest;
    for (int a = 0; a < 3; ++a) index[a] -= pull * (index[a] - static_cast<double>(lesion.centre[a]));
  }

  const Anatomy& anatomy_;
  Geometry geometry_;
  VoxelBox box_;
  double voxel_size_;
  Head head_;
  std::vector<SmoothField> fields_;
};

/// What is drawn once for a subject's modality.
struct ModalityDraw {
  Appearance appearance;
  float scale, noise, bias;
};

std::array<ModalityDraw, kModalities> draw_modalities(PhantomRandom random) {
  std::array<ModalityDraw, kModalities> draws;
  for (int m = 0; m < kModalities; ++m) {
    Appearance a = kAppearances[m];
    for (float* value : {&a.fluid, &a.grey, &a.white, &a.necrosis, &a.enhancing})
      *value *= random.uniform(0.94f, 1.06f);
    // How far oedema stands out from healthy tissue varies most between patients.
    a.oedema = a.white + (a.oedema - a.white) * random.uniform(0.7f, 1.1f);
    draws[m] = {a, random.uniform(350, 1300), random.uniform(0.015f, 0.035f), random.uniform(0.04f, 0.1f)};
  }
  return draws;
}

float sharp(float signed_mm, float width) {
  return signed_mm >= 3 * width ? 1 : signed_mm <= -3 * width ? 0 : 0.5f + signed_mm / (6 * width);
}

/// Noise-free value of one modality in one voxel. `weights`: how much of the voxel is oedema, core and rim.
struct LesionWeights {
  float oedema = 0, core = 0, rim = 0;
};

float tissue_value(const Appearance& a, const TissueShares& s, const LesionWeights& w, float texture,
                   float lesion_texture) {
  float value = (s.fluid * a.fluid + s.grey * a.grey + s.white * a.white) * (1 + 0.03f * texture);
  if (w.oedema > 0) value += (a.oedema * (1 + 0.09f * lesion_texture) - value) * w.oedema * 0.92f;
  if (w.core > 0) {
    const float necrosis = a.necrosis * (1 + 0.16f * lesion_texture);
    const float enhancing = a.enhancing * (1 + 0.12f * lesion_texture);
    value += (necrosis + (enhancing - necrosis) * w.rim - value) * w.core;
  }
  return value;
}

/// Draws voxels row by row: tissue, lesions, confounders, bias field, noise.
class Renderer {
 public:
  Renderer(const TissueMap& tissue, const std::vector<LesionMap>& lesions, uint64_t seed, int64_t index)
      : tissue_(tissue),
        lesions_(lesions),
        noise_(seed, index, PhantomStream::noise),
        draws_(draw_modalities(PhantomRandom(seed, index, PhantomStream::contrast))) {
    const auto field = [&](PhantomStream stream, uint32_t part, double spacing) {
      fields_.emplace_back(PhantomRandom(seed, index, stream, part), tissue.box.extent, tissue.voxel_size,
                           spacing);
      rows_.emplace_back(tissue.box.extent[0]);
    };
    for (uint32_t m = 0; m < kModalities; ++m) field(PhantomStream::bias, m, 75);
    field(PhantomStream::texture, 0, 6);
    field(PhantomStream::texture, 1, 7);
    field(PhantomStream::vessels, 0, 16);
    field(PhantomStream::vessels, 1, 16);
    field(PhantomStream::spots, 0, 7);
  }

  void render(PhantomSubject& out) {
    const VoxelBox& box = tissue_.box;
    for (auto& voxels : out.intensities) voxels.assign(box.voxels(), 0);
    for (int64_t k = 0, n = 0; k < box.extent[2]; ++k) {
      for (int64_t j = 0; j < box.extent[1]; ++j, n += box.extent[0]) {
        const float* t1 = tissue_.t1.data() + n;
        if (std::all_of(t1, t1 + box.extent[0], [](float v) { return v < 0; })) continue;
        for (size_t f = 0; f < fields_.size(); ++f) fields_[f].row(0, j, k, rows_[f]);
        for (int64_t i = 0; i < box.extent[0]; ++i) {
          if (t1[i] >= 0) voxel(out, {box.begin[0] + i, box.begin[1] + j, box.begin[2] + k}, i, n + i);
        }
      }
    }
  }

 private:
  enum Row { texture = 4, lesion_texture, vessel_a, vessel_b, spots };

  LesionWeights weights(const std::array<int64_t, 3>& at) const {
    LesionWeights w;
    for (const LesionMap& map : lesions_) {
      if (!map.box.contains(at[0], at[1], at[2])) continue;
      const int64_t n = map.box.index(at[0], at[1], at[2]);
      w.oedema = std::max(w.oedema, sharp(map.oedema[n], 0.7f));
      const float core = sharp(map.core[n], 0.35f);
      if (core > w.core) {
        w.core = core;
        w.rim = sharp(map.rim[n], 0.3f);
      }
    }
    return w;
  }

  void voxel(PhantomSubject& out, const std::array<int64_t, 3>& at, int64_t i, int64_t n) const {
    const TissueShares shares = tissue_.shares(tissue_.t1[n]);
    const LesionWeights w = weights(at);
    const std::array<float, 8> noise = noise_.normals_at(static_cast<uint64_t>(n));
    // Vessels: tubes where two smooth fields are both near 0, in and near fluid. Spots: small bright lesions
    // of ageing white matter, which are no tumour.
    const float a = rows_[vessel_a][i], b = rows_[vessel_b][i];
    const float vessel =
        std::max(0.0f, 1 - 60 * (a * a + b * b)) * std::min(1.0f, 2 * shares.fluid + 0.5f * shares.grey);
    const float spot = std::clamp(3 * (rows_[spots][i] - 2.7f), 0.0f, 0.8f) * shares.white;
    for (int m = 0; m < kModalities; ++m) {
      const ModalityDraw& draw = draws_[m];
      float value = tissue_value(draw.appearance, shares, w, rows_[texture][i], rows_[lesion_texture][i]);
      if (m == 2) value += 0.6f * vessel * (1 - w.core);
      if (m == 0 || m == 3) value += spot * (draw.appearance.oedema - value) * (1 - w.core);
      value *= 1 + draw.bias * rows_[m][i];
      const float real = value + draw.noise * noise[2 * m], imaginary = draw.noise * noise[2 * m + 1];
      const float magnitude = std::sqrt(real * real + imaginary * imaginary);
      out.intensities[m][n] = std::clamp(std::round(draw.scale * magnitude), 1.0f, 32000.0f);
    }
  }

  const TissueMap& tissue_;
  const std::vector<LesionMap>& lesions_;
  PhantomRandom noise_;
  std::array<ModalityDraw, kModalities> draws_;
  std::vector<SmoothField> fields_;
  std::vector<std::vector<float>> rows_;
};

/// The voxels that the brain can reach, with room for rotation, scale and displacement.
VoxelBox head_box(const Anatomy& anatomy, const Geometry& geometry) {
  double fit = 1e9;
  for (int a = 0; a < 3; ++a) fit = std::min(fit, kHeadLimits[a] / anatomy.size[a]);
  const Affine to_voxel = inverse(geometry.affine);
  VoxelBox box;
  for (int a = 0; a < 3; ++a) {  // the grid's axes run along or against RAS
    const double half = (0.5 * fit * anatomy.size[a] * 1.06 + 16) / std::fabs(geometry.affine[a][a]);
    const double middle = to_millimetres(to_voxel, kHeadCentre)[a];
    box.begin[a] = std::clamp<int64_t>(std::llround(middle - half), 0, geometry.extent[a] - 1);
    box.extent[a] =
        std::clamp<int64_t>(std::llround(middle + half) + 1, box.begin[a] + 1, geometry.extent[a]) -
        box.begin[a];
  }
  return box;
}

template <class T>
Volume<T> expand(const Geometry& geometry, const VoxelBox& box, const std::vector<T>& voxels) {
  Volume<T> volume{geometry, std::vector<T>(geometry.voxels(), T{})};
  for (int64_t k = 0; k < box.extent[2]; ++k) {
    for (int64_t j = 0; j < box.extent[1]; ++j) {
      const T* from = voxels.data() + box.extent[0] * (j + box.extent[1] * k);
      std::copy(from, from + box.extent[0],
                volume.voxels.data() + geometry.index(box.begin[0], box.begin[1] + j, box.begin[2] + k));
    }
  }
  return volume;
}

}  // namespace

Geometry phantom_geometry(double voxel_size) {
  Geometry geometry;
  const std::array<double, 3> field{240, 240, 155};
  for (int a = 0; a < 3; ++a) geometry.extent[a] = static_cast<int64_t>(std::ceil(field[a] / voxel_size));
  geometry.affine = {{{-voxel_size, 0, 0, 0}, {0, -voxel_size, 0, 239}, {0, 0, voxel_size, 0}}};
  return geometry;
}

Image PhantomSubject::image(size_t modality) const {
  return expand(geometry, box, intensities.at(modality));
}

LabelMap PhantomSubject::label_map() const {
  return expand(geometry, box, labels);
}

PhantomSubject make_phantom_subject(const Anatomy& anatomy, uint64_t seed, int64_t index, double voxel_size) {
  PhantomSubject subject;
  subject.geometry = phantom_geometry(voxel_size);
  subject.box = head_box(anatomy, subject.geometry);
  const HeadSampler sampler(anatomy, subject.geometry, subject.box, seed, index);
  TissueMap tissue{subject.box, voxel_size, anatomy.class_means, {}};
  tissue.t1.resize(subject.box.voxels());
  sampler.sample(tissue.t1, subject.box, nullptr);

  PhantomRandom random(seed, index, PhantomStream::lesion);
  std::vector<LesionPlan> plans{plan_lesion(tissue, random)};
  if (random.chance(0.15f)) {  // a second, smaller focus
    LesionPlan satellite = plan_lesion(tissue, random);
    satellite.oedema_radius *= 0.6f;
    satellite.core_radius *= 0.6f;
    satellite.rim_thickness *= 0.8f;
    plans.push_back(satellite);
  }
  const auto reach = static_cast<int64_t>(std::ceil(mass_effect_reach(plans[0]) / voxel_size));
  sampler.sample(tissue.t1, box_around(plans[0].centre, reach, subject.box), &plans[0]);
  std::vector<LesionMap> lesions;
  for (uint32_t n = 0; n < plans.size(); ++n)
    lesions.push_back(grow_lesion(plans[n], tissue, seed, index, n));

  subject.labels.assign(subject.box.voxels(), 0);
  for (const LesionMap& map : lesions) {
    for (int64_t k = map.box.begin[2]; k < map.box.begin[2] + map.box.extent[2]; ++k) {
      for (int64_t j = map.box.begin[1]; j < map.box.begin[1] + map.box.extent[1]; ++j) {
        for (int64_t i = map.box.begin[0]; i < map.box.begin[0] + map.box.extent[0]; ++i) {
          uint8_t& label = subject.labels[subject.box.index(i, j, k)];
          const uint8_t found = lesion_label(map, map.box.index(i, j, k));
          if (label == 0 || (label == 2 && found != 0))
            label = found;  // a core wins over another tumour's oedema
        }
      }
    }
  }
  Renderer(tissue, lesions, seed, index).render(subject);
  return subject;
}

}  // namespace vg::data
