#pragma once

namespace exercise::norm3d {

struct Moments {
  float count = 0, mean = 0, squares = 0;
};

// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
// Around another centre c the squares of n values grow by n (mean - c)^2; with c the common mean both growths
// together are d^2 na nb / n.
inline Moments merge(const Moments& a, const Moments& b) {
  const float count = a.count + b.count;
  if (count == 0) return {};
  const float share = b.count / count, difference = b.mean - a.mean;
  return {count, a.mean + difference * share,
          a.squares + b.squares + difference * difference * a.count * share};
}

}  // namespace exercise::norm3d
