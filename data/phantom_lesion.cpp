#include "data/phantom_lesion.h"

#include <algorithm>
#include <cmath>
#include <queue>
#include <utility>

namespace vg::data {
namespace {

constexpr float kUnreached = 1e4f;

/// Time for the front to pass a millimetre, relative to white matter.
float resistance(const TissueShares& s) {
  return s.white + 2.2f * s.grey + 9 * s.fluid;
}

/// A lattice of cells of about 2 mm over a box of voxels: fine enough for a front, eight times fewer than
/// voxels.
struct CellGrid {
  VoxelBox box;
  int64_t step;
  std::array<int64_t, 3> cells;
  int64_t index(int64_t i, int64_t j, int64_t k) const { return i + cells[0] * (j + cells[1] * k); }
};

std::vector<float> cell_resistance(const CellGrid& grid, const TissueMap& tissue) {
  std::vector<float> cost(grid.cells[0] * grid.cells[1] * grid.cells[2]);
  for (int64_t k = 0, n = 0; k < grid.cells[2]; ++k) {
    for (int64_t j = 0; j < grid.cells[1]; ++j) {
      for (int64_t i = 0; i < grid.cells[0]; ++i, ++n) {
        const std::array<int64_t, 3> v{grid.box.begin[0] + i * grid.step, grid.box.begin[1] + j * grid.step,
                                       grid.box.begin[2] + k * grid.step};
        cost[n] = tissue.inside(v[0], v[1], v[2])
                      ? resistance(tissue.shares(tissue.t1[tissue.box.index(v[0], v[1], v[2])]))
                      : kUnreached;
      }
    }
  }
  return cost;
}

/// Arrival times by Dijkstra's method over the 26 neighbours, up to `limit`.
std::vector<float> arrival_times(const CellGrid& grid, const std::vector<float>& cost, double cell_size,
                                 const std::array<int64_t, 3>& start, float limit) {
  std::vector<float> time(cost.size(), kUnreached);
  using Entry = std::pair<float, int64_t>;  // the index breaks ties, so the order is fixed
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> front;
  const int64_t first = grid.index(start[0], start[1], start[2]);
  time[first] = 0;
  front.push({0.0f, first});
  while (!front.empty()) {
    const auto [now, index] = front.top();
    front.pop();
    if (now > time[index]) continue;
    const int64_t i = index % grid.cells[0], j = index / grid.cells[0] % grid.cells[1],
                  k = index / (grid.cells[0] * grid.cells[1]);
    for (int64_t c = std::max<int64_t>(0, k - 1); c <= std::min(grid.cells[2] - 1, k + 1); ++c) {
      for (int64_t b = std::max<int64_t>(0, j - 1); b <= std::min(grid.cells[1] - 1, j + 1); ++b) {
        for (int64_t a = std::max<int64_t>(0, i - 1); a <= std::min(grid.cells[0] - 1, i + 1); ++a) {
          const int64_t next = grid.index(a, b, c);
          const int64_t steps = (a != i) + (b != j) + (c != k);
          const float length = static_cast<float>(cell_size * std::sqrt(static_cast<double>(steps)));
          const float then = now + 0.5f * (cost[index] + cost[next]) * length;
          if (then < time[next] && then < limit) {
            time[next] = then;
            front.push({then, next});
          }
        }
      }
    }
  }
  return time;
}

/// Trilinear interpolation of cell values; unreached cells count as `far`.
float interpolate(const CellGrid& grid, const std::vector<float>& values, const std::array<int64_t, 3>& voxel,
                  float far) {
  std::array<int64_t, 3> low;
  std::array<float, 3> t;
  for (int a = 0; a < 3; ++a) {
    const int64_t offset = voxel[a] - grid.box.begin[a];
    low[a] = std::min(offset / grid.step, std::max<int64_t>(0, grid.cells[a] - 2));
    t[a] = std::min(1.0f, static_cast<float>(offset - low[a] * grid.step) / static_cast<float>(grid.step));
  }
  float sum = 0;
  for (int corner = 0; corner < 8; ++corner) {
    float weight = 1;
    std::array<int64_t, 3> cell;
    for (int a = 0; a < 3; ++a) {
      const int up = corner >> a & 1;
      weight *= up ? t[a] : 1 - t[a];
      cell[a] = std::min(low[a] + up, grid.cells[a] - 1);
    }
    sum += weight * std::min(far, values[grid.index(cell[0], cell[1], cell[2])]);
  }
  return sum;
}

}  // namespace

VoxelBox box_around(const std::array<int64_t, 3>& centre, int64_t reach, const VoxelBox& within) {
  VoxelBox box;
  for (int a = 0; a < 3; ++a) {
    box.begin[a] = std::max(within.begin[a], centre[a] - reach);
    box.extent[a] = std::min(within.begin[a] + within.extent[a], centre[a] + reach + 1) - box.begin[a];
  }
  return box;
}

TissueShares TissueMap::shares(float value) const {
  const auto& m = class_means;
  if (value <= m[1]) {
    const float fluid = std::clamp((m[1] - value) / (m[1] - m[0]), 0.0f, 1.0f);
    return {fluid, 1 - fluid, 0};
  }
  const float white = std::clamp((value - m[1]) / (m[2] - m[1]), 0.0f, 1.0f);
  return {0, 1 - white, white};
}

LesionPlan plan_lesion(const TissueMap& tissue, PhantomRandom& random) {
  LesionPlan plan;
  plan.oedema_radius = random.uniform(18, 37);
  plan.core_radius = plan.oedema_radius * random.uniform(0.4f, 0.72f);
  plan.rim_thickness = random.uniform(2.2f, 4.5f);
  for (float& s : plan.stretch) s = random.uniform(0.8f, 1.25f);
  const float kind = random.uniform();
  plan.has_rim = kind > 0.09f;       // low-grade: no enhancement
  plan.has_necrosis = kind < 0.92f;  // small high-grade: solid enhancement
  const VoxelBox& box = tissue.box;
  const int64_t near = std::max<int64_t>(1, std::llround(6 / tissue.voxel_size));
  const auto white = [&](int64_t i, int64_t j, int64_t k) {
    return tissue.inside(i, j, k) && tissue.shares(tissue.t1[box.index(i, j, k)]).white > 0.6f;
  };
  int best = -1;
  // White matter with white matter around it, and not in the cerebellum or brain stem (the lower third).
  for (int attempt = 0; attempt < 4000 && best < 5; ++attempt) {
    std::array<int64_t, 3> at;
    for (int a = 0; a < 3; ++a) {
      const float low = a == 2 ? 0.36f : 0.08f, high = a == 2 ? 0.76f : 0.92f;
      at[a] =
          box.begin[a] + static_cast<int64_t>(random.uniform(low, high) * static_cast<float>(box.extent[a]));
    }
    if (!white(at[0], at[1], at[2])) continue;
    int count = 0;
    for (int64_t s : {-near, near}) {
      count +=
          white(at[0] + s, at[1], at[2]) + white(at[0], at[1] + s, at[2]) + white(at[0], at[1], at[2] + s);
    }
    if (count > best) {
      best = count;
      plan.centre = at;
    }
  }
  if (best < 0) {  // no white matter found: the middle of the box
    for (int a = 0; a < 3; ++a) plan.centre[a] = box.begin[a] + box.extent[a] / 2;
  }
  return plan;
}

LesionMap grow_lesion(const LesionPlan& plan, const TissueMap& tissue, uint64_t seed, int64_t subject,
                      uint32_t part) {
  const double voxel = tissue.voxel_size;
  const float limit = plan.oedema_radius * 1.9f;
  LesionMap map;
  map.box =
      box_around(plan.centre, static_cast<int64_t>(std::ceil(plan.oedema_radius * 1.6 / voxel)), tissue.box);
  CellGrid grid{map.box, std::max<int64_t>(1, std::llround(2 / voxel)), {}};
  std::array<int64_t, 3> start;
  for (int a = 0; a < 3; ++a) {
    grid.cells[a] = (map.box.extent[a] + grid.step - 1) / grid.step;
    start[a] = (plan.centre[a] - map.box.begin[a]) / grid.step;
  }
  const auto times = arrival_times(grid, cell_resistance(grid, tissue),
                                   voxel * static_cast<double>(grid.step), start, limit);

  const auto field = [&](uint32_t number, double spacing) {
    return SmoothField(PhantomRandom(seed, subject, PhantomStream::lesion_shape, part * 16 + number),
                       map.box.extent, voxel, spacing);
  };
  const SmoothField coarse = field(0, 13), fine = field(1, 5), core_coarse = field(2, 15),
                    core_fine = field(3, 6), rim_coarse = field(4, 10), rim_fine = field(5, 4);
  const int64_t width = map.box.extent[0];
  std::array<std::vector<float>, 6> rows;
  rows.fill(std::vector<float>(width));
  map.oedema.resize(map.box.voxels());
  map.core.resize(map.box.voxels());
  map.rim.resize(map.box.voxels());
  for (int64_t k = 0, n = 0; k < map.box.extent[2]; ++k) {
    for (int64_t j = 0; j < map.box.extent[1]; ++j) {
      const SmoothField* fields[] = {&coarse, &fine, &core_coarse, &core_fine, &rim_coarse, &rim_fine};
      for (int f = 0; f < 6; ++f) fields[f]->row(0, j, k, rows[f]);
      for (int64_t i = 0; i < width; ++i, ++n) {
        const std::array<int64_t, 3> v{map.box.begin[0] + i, map.box.begin[1] + j, map.box.begin[2] + k};
        map.oedema[n] = map.core[n] = map.rim[n] = -kUnreached;
        if (!tissue.inside(v[0], v[1], v[2])) continue;
        const TissueShares shares = tissue.shares(tissue.t1[tissue.box.index(v[0], v[1], v[2])]);
        const float time = interpolate(grid, times, v, limit);
        float squared = 0;
        for (int a = 0; a < 3; ++a) {
          const float mm =
              static_cast<float>(voxel * static_cast<double>(v[a] - plan.centre[a])) / plan.stretch[a];
          squared += mm * mm;
        }
        const float distance = std::sqrt(squared);
        const float core =
            plan.core_radius -
            std::max(distance * (1 + 0.16f * rows[2][i] + 0.07f * rows[3][i]) + 7 * shares.fluid,
                     0.62f * time);
        const float oedema = plan.oedema_radius - (time * (1 + 0.16f * rows[0][i] + 0.07f * rows[1][i]) +
                                                   2.5f * shares.grey + 25 * shares.fluid);
        map.core[n] = core;
        map.oedema[n] = std::max(oedema, core);
        const float thickness = plan.rim_thickness * (1 + 0.45f * rows[4][i] + 0.3f * rows[5][i]);
        map.rim[n] = !plan.has_rim ? -kUnreached : !plan.has_necrosis ? core : thickness - core;
      }
    }
  }
  return map;
}

uint8_t lesion_label(const LesionMap& map, int64_t index) {
  if (map.core[index] > 0) return map.rim[index] > 0 ? 4 : 1;
  return map.oedema[index] > 0 ? 2 : 0;
}

}  // namespace vg::data
