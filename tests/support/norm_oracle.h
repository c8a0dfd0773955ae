// Normalisation with a fused activation as naive loops in double, forward and backward, on dense [n, voxels,
// channels].
#pragma once

#include <cmath>
#include <vector>

#include "kernels/norm3d/norm3d.h"

namespace vg::test {

using Doubles = std::vector<double>;

inline Doubles to_doubles(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

struct NormShape {
  int64_t n, voxels, channels;
};

/// Statistics of a normalisation, one of each per group (see kernels::norm3d_groups).
struct NormStatistics {
  Doubles mean, variance;
};

/// gamma, beta empty without affine map; slope: of prelu.
struct NormWeights {
  Doubles gamma, beta, slope;
};

struct NormGradients {
  Doubles dx, dgamma, dbeta, dslope;
};

/// Calls body(index of the element, its group, its channel) for all elements.
template <class Body>
void for_each_normed(const NormShape& s, const kernels::Norm3dParams& p, const Body& body) {
  size_t i = 0;
  for (int64_t n = 0; n < s.n; ++n) {
    for (int64_t v = 0; v < s.voxels; ++v) {
      for (int64_t c = 0; c < s.channels; ++c)
        body(i++, static_cast<size_t>(p.per_instance ? n * s.channels + c : c), static_cast<size_t>(c));
    }
  }
}

/// Values per group.
inline double norm_count(const NormShape& s, const kernels::Norm3dParams& p) {
  return static_cast<double>(p.per_instance ? s.voxels : s.n * s.voxels);
}

inline NormStatistics norm_statistics(const Doubles& x, const NormShape& s, const kernels::Norm3dParams& p) {
  const auto groups = static_cast<size_t>(kernels::norm3d_groups(s.n, s.channels, p));
  NormStatistics result{Doubles(groups), Doubles(groups)};
  for_each_normed(s, p, [&](size_t i, size_t g, size_t) { result.mean[g] += x[i] / norm_count(s, p); });
  for_each_normed(s, p, [&](size_t i, size_t g, size_t) {
    result.variance[g] += (x[i] - result.mean[g]) * (x[i] - result.mean[g]) / norm_count(s, p);
  });
  return result;
}

inline double norm_slope(const NormWeights& w, const kernels::Norm3dParams& p, size_t c) {
  switch (p.activation.kind) {
    case kernels::ActivationKind::relu:
      return 0;
    case kernels::ActivationKind::leaky_relu:
      return static_cast<double>(p.activation.negative_slope);
    case kernels::ActivationKind::prelu:
      return w.slope[w.slope.size() == 1 ? 0 : c];
    default:
      return 1;
  }
}

inline double norm_before_activation(double x, const NormStatistics& t, const NormWeights& w,
                                     const kernels::Norm3dParams& p, size_t g, size_t c) {
  const double xhat = (x - t.mean[g]) / std::sqrt(t.variance[g] + static_cast<double>(p.eps));
  return w.gamma.empty() ? xhat : xhat * w.gamma[c] + w.beta[c];
}

inline Doubles norm_apply(const Doubles& x, const NormStatistics& t, const NormWeights& w, const NormShape& s,
                          const kernels::Norm3dParams& p) {
  Doubles y(x.size());
  for_each_normed(s, p, [&](size_t i, size_t g, size_t c) {
    const double v = norm_before_activation(x[i], t, w, p, g, c);
    y[i] = v > 0 ? v : v * norm_slope(w, p, c);
  });
  return y;
}

/// By the chain rule through variance and mean as Ioffe and Szegedy (2015) write it.
inline NormGradients norm_backward(const Doubles& dy, const Doubles& x, const NormStatistics& t,
                                   const NormWeights& w, const NormShape& s, const kernels::Norm3dParams& p) {
  const size_t groups = t.mean.size();
  const double count = norm_count(s, p);
  NormGradients r{Doubles(x.size()), Doubles(w.gamma.size()), Doubles(w.gamma.size()),
                  Doubles(w.slope.size())};
  Doubles dxhat(x.size()), dvariance(groups), dmean(groups);
  const auto deviation = [&](size_t g) { return std::sqrt(t.variance[g] + static_cast<double>(p.eps)); };
  for_each_normed(s, p, [&](size_t i, size_t g, size_t c) {
    const double v = norm_before_activation(x[i], t, w, p, g, c);
    const double dv = v > 0 ? dy[i] : dy[i] * norm_slope(w, p, c);
    if (!w.slope.empty() && v <= 0) r.dslope[w.slope.size() == 1 ? 0 : c] += dy[i] * v;
    if (!w.gamma.empty()) {
      r.dgamma[c] += dv * (x[i] - t.mean[g]) / deviation(g);
      r.dbeta[c] += dv;
    }
    dxhat[i] = w.gamma.empty() ? dv : dv * w.gamma[c];
    dvariance[g] -= dxhat[i] * (x[i] - t.mean[g]) / (2 * std::pow(deviation(g), 3));
    dmean[g] -= dxhat[i] / deviation(g);
  });
  for_each_normed(s, p, [&](size_t i, size_t g, size_t) {
    r.dx[i] = dxhat[i] / deviation(g);
    if (!p.fixed_statistics) r.dx[i] += dvariance[g] * 2 * (x[i] - t.mean[g]) / count + dmean[g] / count;
  });
  return r;
}

}  // namespace vg::test
