#include "kernels/augment/flip_impl.h"
#include "kernels/common/map.h"

namespace vg::kernels::cpu::VG_ISA {

namespace {

template <size_t... Lane>
VG_INLINE Vec reverse(Vec v, std::index_sequence<Lane...>) {
  return __builtin_shufflevector(v, v, (lanes - 1 - Lane)...);
}

VG_INLINE void reverse_copy(float* out, const float* in, int64_t count) {
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    store(out + i, reverse(load(in + count - i - lanes), std::make_index_sequence<lanes>()));
  for (; i < count; ++i) out[i] = in[count - 1 - i];
}
VG_INLINE void reverse_copy(uint8_t* out, const uint8_t* in, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = in[count - 1 - i];
}

template <class T>
void flip_rows(const View<T>& y, const View<const T>& x, bool along_d, bool along_h, bool along_w) {
  parallel_for(y.rows(), 1 + segment_elements / y.w, [&](int64_t row) {
    const int64_t d = row / y.h % y.d, h = row % y.h;
    T* const out = y.row(row);
    const T* const in = x.at(row / y.h / y.d, along_d ? y.d - 1 - d : d, along_h ? y.h - 1 - h : h);
    if (along_w) {
      reverse_copy(out, in, y.w);
    } else {
      std::memcpy(out, in, static_cast<size_t>(y.w) * sizeof(T));
    }
  });
}

}  // namespace

void flip(View<float> y, View<const float> x, bool along_d, bool along_h, bool along_w, const Exec&) {
  flip_rows(y, x, along_d, along_h, along_w);
}

void flip(View<uint8_t> y, View<const uint8_t> x, bool along_d, bool along_h, bool along_w, const Exec&) {
  flip_rows(y, x, along_d, along_h, along_w);
}

}  // namespace vg::kernels::cpu::VG_ISA
