// What each library's file offers to opponent.cpp; defined only where CMake found the library.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/opponents/conv_opponent.h"
#include "bench/opponents/op_opponent.h"

namespace vg::bench {

std::string onednn_version();
std::string cudnn_version();
std::string cublas_version();

std::vector<std::unique_ptr<Opponent>> make_conv_opponents_onednn(const ConvTask& task, std::string& why_not);
std::vector<std::unique_ptr<Opponent>> make_conv_opponents_cudnn(const ConvTask& task, std::string& why_not);
std::vector<std::unique_ptr<Opponent>> make_conv_opponents_cublas(const ConvTask& task, std::string& why_not);

std::vector<std::unique_ptr<Opponent>> make_norm_opponents_onednn(const NormTask& task);
std::vector<std::unique_ptr<Opponent>> make_resample_opponents_onednn(const ResampleTask& task);

}  // namespace vg::bench
