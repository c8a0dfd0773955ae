#pragma once

#include "kernels/common/dispatch.h"
#include "kernels/elementwise/elementwise.h"

namespace vg::kernels {

VG_DECLARE_CPU_IMPLEMENTATIONS(
    void fill(View<float> y, float value, const Exec& exec);
    void fill(View<uint8_t> y, uint8_t value, const Exec& exec);
    void zero_halo(View<float> y, const Exec& exec);
    void copy(View<float> y, View<const float> x, const Exec& exec);
    void copy(View<uint8_t> y, View<const uint8_t> x, const Exec& exec);
    void cast(View<bfloat16> y, View<const float> x, const Exec& exec);
    void cast(View<float> y, View<const bfloat16> x, const Exec& exec);
    void add(View<float> y, View<const float> a, View<const float> b, const Exec& exec);
    void accumulate(View<float> y, View<const float> x, float factor, const Exec& exec);
    void scale(View<float> y, View<const float> x, float factor, const Exec& exec);
    void multiply(View<float> y, View<const float> a, View<const float> b, const Exec& exec);
    void multiply_backward(View<float> da, View<float> db, View<const float> dy, View<const float> a,
                           View<const float> b, const Exec& exec);)

// T is float or bfloat16; for fill and copy also uint8_t.
namespace cuda {
void zero_arrays(const OutputArray* arrays, int64_t count, const Exec& exec);
template <class T, class Value>
void fill(View<T> y, Value value, const Exec& exec);
template <class T>
void zero_halo(View<T> y, const Exec& exec);
template <class T>
void copy(View<T> y, View<const T> x, const Exec& exec);
void cast(View<bfloat16> y, View<const float> x, const Exec& exec);
void cast(View<float> y, View<const bfloat16> x, const Exec& exec);
template <class T>
void add(View<T> y, View<const T> a, View<const T> b, const Exec& exec);
template <class T>
void accumulate(View<T> y, View<const T> x, float factor, const Exec& exec);
template <class T>
void scale(View<T> y, View<const T> x, float factor, const Exec& exec);
template <class T>
void multiply(View<T> y, View<const T> a, View<const T> b, const Exec& exec);
template <class T>
void multiply_backward(View<T> da, View<T> db, View<const T> dy, View<const T> a, View<const T> b,
                       const Exec& exec);
}  // namespace cuda

}  // namespace vg::kernels
