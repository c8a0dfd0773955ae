// Raw memory of a device. Owners (Workspace, the engine's allocator) wrap it; nothing else calls it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vg::kernels {

enum class DeviceKind : uint8_t { cpu, cuda };

/// Bytes to which every allocation is aligned: a cache line, a 512-bit vector and CUDA's 256-byte segments.
inline constexpr size_t allocation_alignment = 256;

/// Allocates `bytes` of memory on the device. CPU memory of 2 MiB and more is backed by huge pages where the
/// system grants them: the first touch of a buffer in 4 KiB pages costs more than many a kernel. Throws
/// std::bad_alloc on the CPU, vg::kernels::CudaError on CUDA.
[[nodiscard]] void* allocate_device_memory(DeviceKind device, size_t bytes);
/// `bytes` as it was allocated. Prints instead of throwing.
void free_device_memory(DeviceKind device, void* pointer, size_t bytes) noexcept;

/// Copies between and within devices. Returns when `destination` may be read by the host (if it is host
/// memory) or by later work on `stream`.
void copy_memory(void* destination, DeviceKind destination_device, const void* source,
                 DeviceKind source_device, size_t bytes, void* stream);

}  // namespace vg::kernels
