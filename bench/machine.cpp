#include "bench/machine.h"

#include <omp.h>

#include <fstream>
#include <sstream>

#include "bench/harness.h"
#include "bench/opponents/opponent.h"
#include "kernels/common/simd.h"

namespace vg::bench {

namespace {

// The value of the first line of /proc/cpuinfo that begins with `key`.
std::string cpuinfo(const std::string& key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind(key, 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "not told by the system";
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  return std::getline(file, line) ? line : "not told by the system";
}

std::string mebibytes(size_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

#ifdef VOXGRAD_WITH_CUDA
std::string cuda_version(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

void describe_gpu(std::vector<std::pair<std::string, std::string>>& facts) {
  cudaDeviceProp properties{};
  int driver = 0, runtime = 0, clock = 0, memory_clock = 0;
  kernels::check_cuda(cudaGetDeviceProperties(&properties, 0));
  kernels::check_cuda(cudaDriverGetVersion(&driver));
  kernels::check_cuda(cudaRuntimeGetVersion(&runtime));
  kernels::check_cuda(cudaDeviceGetAttribute(&clock, cudaDevAttrClockRate, 0));
  kernels::check_cuda(cudaDeviceGetAttribute(&memory_clock, cudaDevAttrMemoryClockRate, 0));
  facts.emplace_back("GPU", properties.name);
  facts.emplace_back("compute capability",
                     std::to_string(properties.major) + "." + std::to_string(properties.minor));
  facts.emplace_back("multiprocessors", std::to_string(properties.multiProcessorCount));
  facts.emplace_back("GPU clock, memory clock (highest)",
                     std::to_string(clock / 1000) + " MHz, " + std::to_string(memory_clock / 1000) + " MHz");
  facts.emplace_back("second-level cache", mebibytes(last_level_cache_bytes(Device::cuda)));
  facts.emplace_back("driver",
                     first_line("/proc/driver/nvidia/version") + " (CUDA " + cuda_version(driver) + ")");
  facts.emplace_back("CUDA runtime", cuda_version(runtime));
}
#endif

}  // namespace

std::vector<std::pair<std::string, std::string>> describe_machine(const Options& options) {
  std::vector<std::pair<std::string, std::string>> facts = {
      {"processor", cpuinfo("model name")},
      {"cores", std::to_string(omp_get_num_procs())},
      {"clock now", cpuinfo("cpu MHz") + " MHz"},
      {"governor", first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")},
      {"load of the last minute", first_line("/proc/loadavg").substr(0, 4)},
      {"last-level cache", mebibytes(last_level_cache_bytes(Device::cpu))},
      {"instruction set", kernels::cpu::isa_name(kernels::cpu::active_isa())},
      {"threads", std::to_string(omp_get_max_threads())},
      {"compiler", __VERSION__}};
#ifdef VOXGRAD_WITH_CUDA
  if (options.where() == Device::cuda) describe_gpu(facts);
#endif
  if (options.opponent != "none") facts.emplace_back(options.opponent, opponent_version(options.opponent));
  return facts;
}

}  // namespace vg::bench
