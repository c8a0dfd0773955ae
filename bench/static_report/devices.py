"""Figures of GPUs: limits of a multiprocessor, and the peaks that bound a kernel."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """What one multiprocessor holds."""

    capability: int
    warps: int
    blocks: int
    shared_bytes: int
    shared_bytes_a_block: int


# CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
ARCHITECTURES = {
    a.capability: a
    for a in (
        Architecture(80, 64, 32, 164 * 1024, 163 * 1024),
        Architecture(89, 48, 24, 100 * 1024, 99 * 1024),
        Architecture(90, 64, 32, 228 * 1024, 227 * 1024),
        Architecture(100, 64, 32, 228 * 1024, 227 * 1024),
        Architecture(120, 48, 24, 100 * 1024, 99 * 1024),
    )
}
REGISTERS = 65536
RESERVED_SHARED_BYTES = 1024  # of each block, by the system, since 8.0
WARP_REGISTER_UNIT = 256
SHARED_UNIT = 128
SCHEDULERS = 4


def _round_up(value, unit):
    return (value + unit - 1) // unit * unit


def occupancy(architecture, registers, threads, shared_bytes):
    """Resident blocks and warps of a multiprocessor and what limits them: (blocks, warps, limit).

    The rules of NVIDIA's occupancy calculator: registers go to warps in units of 256, warps to four
    schedulers, shared memory to blocks in units of 128 bytes with 1 KiB for the system.
    """
    block_warps = (threads + 31) // 32
    warp_registers = _round_up(max(registers, 1) * 32, WARP_REGISTER_UNIT)
    register_warps = REGISTERS // SCHEDULERS // warp_registers * SCHEDULERS
    limits = {
        "blocks": architecture.blocks,
        "warps": architecture.warps // block_warps,
        "registers": register_warps // block_warps,
        "shared memory": architecture.shared_bytes
        // _round_up(shared_bytes + RESERVED_SHARED_BYTES, SHARED_UNIT),
    }
    if shared_bytes > architecture.shared_bytes_a_block:
        limits["shared memory"] = 0
    limit = min(limits, key=limits.get)
    return limits[limit], limits[limit] * block_warps, limit


@dataclass(frozen=True)
class Gpu:
    """Peaks. `tensor_tflops` is what mma.sync reaches of dense bfloat16 with float sums."""

    name: str
    tensor_tflops: float
    dram_gbs: float
    l2_gbs: float
    multiprocessors: int
    clock_ghz: float

    @property
    def shared_wavefronts_s(self):
        """A wavefront is 128 bytes: 32 banks of 4 bytes, one a clock and multiprocessor."""
        return self.multiprocessors * self.clock_ghz * 1e9

    @property
    def issues_s(self):
        """Warp instructions: four schedulers of one a clock."""
        return SCHEDULERS * self.multiprocessors * self.clock_ghz * 1e9


# Peaks, multiprocessors and clocks: NVIDIA's data sheets and architecture white papers (A100 2020, H100 SXM
# 2022, Ada 2022). H100: mma.sync reaches 63% of the 990 TFLOP/s that wgmma does, as published
# microbenchmarks of Hopper found (arXiv 2402.13499). The second-level cache's rates are estimates of
# what streaming reads reach: no data sheet gives them.
GPUS = {
    g.name: g
    for g in (
        Gpu("A100-40", 312, 1555, 4500, 108, 1.41),
        Gpu("A100-80", 312, 2039, 4500, 108, 1.41),
        Gpu("H100", 624, 3350, 5500, 132, 1.755),
        Gpu("RTX 4090", 165, 1008, 5000, 128, 2.52),
    )
}


def bounds_ms(gpu, counted):
    """Least milliseconds that each resource takes for counters.Counters: {resource: ms}."""
    return {
        "tensor": counted.tensor_flops / (gpu.tensor_tflops * 1e12) * 1e3,
        "DRAM": counted.dram_bytes / (gpu.dram_gbs * 1e9) * 1e3,
        "L2": counted.l2_bytes / (gpu.l2_gbs * 1e9) * 1e3,
        "shared": counted.shared_wavefronts / gpu.shared_wavefronts_s * 1e3,
        "issue": counted.warp_instructions / gpu.issues_s * 1e3,
    }
