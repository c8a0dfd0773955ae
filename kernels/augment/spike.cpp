#include "kernels/augment/spike.h"

#include <cmath>
#include <map>
#include <numbers>

#include "kernels/augment/spectrum.h"
#include "kernels/augment/voxelwise.h"
#include "kernels/elementwise/elementwise.h"

namespace vg::kernels {

namespace {

using Complex = std::complex<double>;

// numpy's order of complex numbers.
bool less(const Complex& a, const Complex& b) {
  return a.real() != b.real() ? a.real() < b.real() : a.imag() < b.imag();
}

// A spectrum to which spikes are added one after the other, each as strong as the maximum so far says.
class SpikedSpectrum {
 public:
  explicit SpikedSpectrum(const Spectrum& spectrum) : spectrum_(spectrum) {}

  [[nodiscard]] Complex maximum() const {
    bool found = false;
    Complex best;
    const auto consider = [&](const Complex& value) {
      if (!found || less(best, value)) best = value, found = true;
    };
    for (const auto& [place, value] : changed_) consider(value);
    const auto& extent = spectrum_.extent();
    for (int64_t d = 0; d < extent[0]; ++d) {
      for (int64_t h = 0; h < extent[1]; ++h) {
        const float* const real = spectrum_.real_row(d, h);
        for (int64_t w = 0; w < spectrum_.half_width(); ++w) {
          if (found && static_cast<double>(real[w]) < best.real()) continue;
          const Spectrum::Index k{d, h, w};
          if (!changed_.contains(k)) consider(spectrum_[k]);
          if (!changed_.contains(spectrum_.mirrored(k))) consider(std::conj(spectrum_[k]));
        }
      }
    }
    return best;
  }
  void add(const Spectrum::Index& k, const Complex& spike) {
    changed_.try_emplace(k, spectrum_[k]).first->second += spike;
  }

 private:
  const Spectrum& spectrum_;
  std::map<Spectrum::Index, Complex> changed_;
};

// Where in the spectrum a position lies, its centre being frequency 0: from -extent / 2 on.
std::array<int64_t, 3> frequency_of(const std::array<float, 3>& position, const View<const float>& x) {
  const int64_t extents[] = {x.d, x.h, x.w};
  std::array<int64_t, 3> frequency;
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t extent = extents[axis];
    const double index = std::floor(static_cast<double>(position[axis]) * static_cast<double>(extent));
    frequency[axis] = static_cast<int64_t>(index) - extent / 2;
  }
  return frequency;
}

voxel::Spike wave(const Complex& spike, const std::array<int64_t, 3>& frequency, const View<const float>& x) {
  return {static_cast<float>(std::abs(spike) / static_cast<double>(x.d * x.h * x.w)),
          std::arg(spike) / (2 * std::numbers::pi),
          {frequency[0], frequency[1], frequency[2]},
          {x.d, x.h, x.w}};
}

// One volume, at least one spike. y may be x after the first.
void spike_volume(View<float> y, View<const float> x, const SpikeParams& params,
                  const VolumeStatistics& statistics, const Exec& exec) {
  const double intensity = static_cast<double>(params.intensity);
  if (params.positions.size() == 1 && statistics.minimum >= 0)  // no frequency is above 0
    return voxelwise(y, x, wave(intensity * statistics.sum, frequency_of(params.positions[0], x), x), exec);
  const Spectrum spectrum(x, exec);
  SpikedSpectrum spiked(spectrum);
  for (const auto& position : params.positions) {
    const auto frequency = frequency_of(position, x);
    Spectrum::Index k;
    for (size_t axis = 0; axis < 3; ++axis)
      k[axis] = (frequency[axis] + spectrum.extent()[axis]) % spectrum.extent()[axis];
    const Complex spike = intensity * spiked.maximum();
    spiked.add(k, spike);
    voxelwise(y, x, wave(spike, frequency, x), exec);
    x = y;
  }
}

}  // namespace

void spike(View<float> y, View<const float> x, const SpikeParams& params, const Exec& exec) {
  check_volumes("spike", y, x);
  for (const auto& position : params.positions) {
    for (const float share : position)
      require(share >= 0 && share < 1, "spike: a position is ", share, ", expected 0 to less than 1");
  }
  if (params.positions.empty() || params.intensity == 0) return copy(y, x, exec);
  const auto statistics = volume_statistics(x, exec);
  for (int64_t n = 0; n < x.n; ++n)
    spike_volume(volume_range(y, n, n + 1), volume_range(x, n, n + 1), params,
                 statistics[static_cast<size_t>(n)], exec);
}

}  // namespace vg::kernels
