// oneDNN's descriptors against our own, and its results against ours, for every layer of the shape file.
#ifdef VG_WITH_ONEDNN

#include "bench/opponents/onednn.h"

#include <gtest/gtest.h>

#include "bench/conv_layers.h"
#include "bench/conv_reference.h"
#include "engine/tensor.h"
#include "kernels/conv3d/conv3d.h"

namespace vg::bench {
namespace {

using Dims = dnnl::memory::dims;

Dims strides_of(const dnnl::memory::desc& desc) {
  const auto& blocking = desc.data.format_desc.blocking;
  return {blocking.strides, blocking.strides + desc.data.ndims};
}

TEST(OnednnTest, DescriptorsAreOurViewsForEveryLayer) {
  for (const ConvLayer& layer : read_conv_layers(VG_BENCH_SHAPES)) {
    SCOPED_TRACE(layer.name);
    const Tensor x = Tensor::activation(1, layer.d, layer.h, layer.w, layer.in, Device::cpu);
    View<const float> view = x.view<const float>();
    // Ours has a halo: the same elements in other places.
    const dnnl::memory::desc haloed = onednn_desc(view);
    EXPECT_EQ(haloed.dims(), (Dims{view.n, view.c, view.d, view.h, view.w}));
    EXPECT_EQ(strides_of(haloed), (Dims{view.stride_n, 1, view.stride_d, view.stride_h, view.stride_w}));
    ConvLayer single = layer;
    single.batch = 1;
    const ConvTask task = conv_task(single, "fprop");
    const View<const float>& input = layer.transposed ? task.small : task.large;
    EXPECT_EQ(onednn_desc(input).dims(), haloed.dims());
    // Dense and channels-last, which oneDNN calls ndhwc.
    EXPECT_EQ(onednn_desc(input), dnnl::memory::desc(haloed.dims(), dnnl::memory::data_type::f32,
                                                     dnnl::memory::format_tag::ndhwc));
    const Dims weights = {layer.out, layer.in, layer.kernel_size, layer.kernel_size, layer.kernel_size};
    EXPECT_EQ(onednn_weights_desc(task),
              dnnl::memory::desc(
                  weights, dnnl::memory::data_type::f32,
                  layer.transposed ? dnnl::memory::format_tag::iodhw : dnnl::memory::format_tag::oidhw));
  }
}

// Both layouts and all directions of every kind of layer, on volumes small enough to sum every element.
TEST(OnednnTest, ResultsOfEveryLayerInSmall) {
  for (ConvLayer layer : read_conv_layers(VG_BENCH_SHAPES)) {
    layer.batch = 1, layer.d = 4, layer.h = 6, layer.w = 4;
    for (const std::string& direction : layer.directions) {
      SCOPED_TRACE(layer.name + " " + direction);
      ConvTask task = conv_task(layer, direction);
      const auto large = exact_values(task.large.elements(), 1),
                 small = exact_values(task.small.elements(), 2),
                 weights = exact_values(task.weight_count(), 3);
      task.large.data = large.data(), task.small.data = small.data(), task.weights = weights.data();
      task.sets = 2;
      std::string why_not;
      const auto opponents = make_conv_opponents("onednn", task, why_not);
      ASSERT_EQ(opponents.size(), 2u) << why_not;
      for (const auto& opponent : opponents) {
        opponent->run(0);
        opponent->run(1);
        const Deviation deviation = conv_deviation(task, opponent->result(), DType::float32);
        EXPECT_LE(deviation.error, 1e-5) << opponent->name();
      }
    }
  }
}

TEST(OnednnTest, AgreesWithOurConvolution) {
  const ConvLayer layer{"layer", false, 16, 24, 5, 6, 7, 3, 2, {}, 2};
  ConvTask task = conv_task(layer, "fprop");
  const auto x = exact_values(task.large.elements(), 1), weights = exact_values(task.weight_count(), 3);
  std::vector<float> y(static_cast<size_t>(task.small.elements()));
  task.large.data = x.data(), task.small.data = y.data(), task.weights = weights.data();
  kernels::Workspace workspace(kernels::DeviceKind::cpu);
  kernels::conv3d_forward(kernels::contiguous_view(y.data(), task.small.n, task.small.d, task.small.h,
                                                   task.small.w, task.small.c),
                          task.large, weights.data(), nullptr, {layer.in, layer.out, 3, 2, 1},
                          {.device = kernels::DeviceKind::cpu, .workspace = &workspace});
  std::string why_not;
  for (const auto& opponent : make_conv_opponents("onednn", task, why_not)) {
    opponent->run(0);
    const std::vector<float> theirs = opponent->result();
    ASSERT_EQ(theirs.size(), y.size());
    for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(theirs[i], y[i], 1e-4) << opponent->name() << ' ' << i;
  }
}

}  // namespace
}  // namespace vg::bench

#endif
