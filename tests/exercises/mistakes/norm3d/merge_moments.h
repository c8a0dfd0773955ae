// By sums of squares about zero.
#pragma once

namespace exercise::norm3d {

struct Moments {
  float count = 0, mean = 0, squares = 0;
};

inline Moments merge(const Moments& a, const Moments& b) {
  const float count = a.count + b.count;
  if (count == 0) return {};
  const float mean = (a.count * a.mean + b.count * b.mean) / count;
  const float about_zero = a.squares + a.count * a.mean * a.mean + b.squares + b.count * b.mean * b.mean;
  return {count, mean, about_zero - count * mean * mean};
}

}  // namespace exercise::norm3d
