"""Reads profiles: counters of kernels as JSON, or the raw page of Nsight Compute as CSV."""

import csv
import io
import json
import pathlib
import re
from dataclasses import dataclass, fields

SECTOR = 32

# Kernels that write where they read: what they write counts again, for "unique" bytes hold it once. Only for
# profiles that do not say it themselves ("rewritten_bytes").
IN_PLACE = re.compile(r"adam|sgd|accumulate|add_to|scale_in_place|InputGradientShare", re.IGNORECASE)


class ProfileError(Exception):
    pass


@dataclass
class Counters:
    """Sums over launches; all can be added and scaled."""

    tensor_flops: float = 0
    warp_instructions: float = 0
    integer_instructions: float = 0  # of warps
    mma_instructions: float = 0  # of warps
    dram_bytes: float = 0  # each sector once a launch, or measured
    load_requests: float = 0  # of warps
    load_bytes: float = 0  # that lanes asked for
    load_sectors: float = 0
    store_bytes: float = 0
    store_sectors: float = 0
    shared_wavefronts: float = 0
    shared_ideal: float = 0  # wavefronts without bank conflicts
    main_load_bytes: float = 0  # of the copies that feed tensor cores
    main_load_sectors: float = 0
    main_shared_wavefronts: float = 0  # of these copies and of what feeds fragments
    main_shared_ideal: float = 0

    def __add__(self, other):
        return Counters(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def scaled(self, factor):
        return Counters(*(getattr(self, f.name) * factor for f in fields(self)))

    @property
    def l2_bytes(self):
        return (self.load_sectors + self.store_sectors) * SECTOR

    @staticmethod
    def _ratio(numerator, denominator):
        return numerator / denominator if denominator else None

    @property
    def bank_conflict_factor(self):
        return self._ratio(self.shared_wavefronts, self.shared_ideal)

    @property
    def main_bank_conflict_factor(self):
        return self._ratio(self.main_shared_wavefronts, self.main_shared_ideal)

    @property
    def load_efficiency(self):
        return self._ratio(self.load_bytes, SECTOR * self.load_sectors)

    @property
    def main_load_efficiency(self):
        return self._ratio(self.main_load_bytes, SECTOR * self.main_load_sectors)


@dataclass
class ProfiledKernel:
    name: str
    launches: int
    threads: int
    shared_bytes: int
    counters: Counters
    blocks: int = 1  # of its launches,
    blocks_run: int = 1  # and those that were counted


def total(kernels):
    """Of all kernels; counters of a part of the blocks are multiplied, fixed costs included."""
    result = Counters()
    for kernel in kernels:
        result = result + kernel.counters.scaled(kernel.blocks / kernel.blocks_run)
    return result


def total_of_parts(few, more):
    """Of all kernels, from profiles of fewer and of more of their blocks.

    DRAM bytes that blocks share (weights) and those that each has are told apart: they lie on a line.
    """
    result, before = Counters(), {k.name: k for k in few}
    for kernel in more:
        whole = kernel.counters.scaled(kernel.blocks / kernel.blocks_run)
        known = before.get(kernel.name, kernel)
        if kernel.blocks_run > known.blocks_run:
            run = kernel.counters.dram_bytes
            slope = (run - known.counters.dram_bytes) / (kernel.blocks_run - known.blocks_run)
            whole.dram_bytes = run + max(0.0, slope) * (kernel.blocks - kernel.blocks_run)
        result = result + whole
    return result


_MAIN_SHARED = re.compile(r"^\s*(?:@\S+\s+)?(?:ldmatrix|cp\.async|ld\.shared\.v4)")
_MAIN_GLOBAL = re.compile(r"^\s*(?:@\S+\s+)?cp\.async")


def _from_json_kernel(k):
    load, store = k["global_load"], k["global_store"]
    shared = (k["shared_load"], k["shared_store"])
    c = Counters(
        tensor_flops=k["flop_tensor"],
        warp_instructions=sum(k["instructions"].values()) / 32,
        integer_instructions=k["instructions"].get("int", 0) / 32,
        mma_instructions=k["instructions"].get("mma", 0) / 32,
        dram_bytes=k["unique_bytes"],
        load_requests=load["requests"],
        load_bytes=load["bytes"],
        load_sectors=load["sectors"],
        store_bytes=store["bytes"],
        store_sectors=store["sectors"],
        shared_wavefronts=sum(s["wavefronts"] for s in shared),
        shared_ideal=sum(s["ideal"] for s in shared),
    )
    if "rewritten_bytes" in k:
        c.dram_bytes += k["rewritten_bytes"]
    elif IN_PLACE.search(k["kernel"]):
        c.dram_bytes += min(store["sectors"] * SECTOR, k["unique_bytes"])
    if c.tensor_flops:
        for site in k.get("sites", []):
            text = site.get("ptx", "")
            if site["space"] == "shared" and _MAIN_SHARED.match(text):
                c.main_shared_wavefronts += site["wavefronts"]
                c.main_shared_ideal += site["ideal"]
            elif site["space"] == "global" and site["access"] == "load" and _MAIN_GLOBAL.match(text):
                c.main_load_bytes += site["bytes"]
                c.main_load_sectors += site["sectors"]
    x, y, z = k["block"]
    blocks, blocks_run = k.get("blocks", 1), k.get("blocks_run", 1)
    return ProfiledKernel(k["kernel"], k["launches"], x * y * z, k["shared_bytes"], c, blocks, blocks_run)


def _from_json(text):
    data = json.loads(text)
    return [_from_json_kernel(k) for k in data["kernels"]]


# Of Nsight Compute; several names of one figure are added up, absent ones are 0.
NCU_METRICS = {
    "warp_instructions": ["smsp__inst_executed.sum"],
    "integer_instructions": ["smsp__inst_executed_pipe_alu.sum"],
    "dram_bytes": ["dram__bytes_read.sum", "dram__bytes_write.sum"],
    "load_requests": ["l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum"],
    "load_sectors": ["lts__t_sectors_srcunit_tex_op_read.sum"],
    "store_sectors": ["lts__t_sectors_srcunit_tex_op_write.sum"],
    "shared_wavefronts": ["l1tex__data_pipe_lsu_wavefronts_mem_shared.sum"],
    "mma": ["sm__inst_executed_pipe_tensor.sum"],
    "conflicts": ["l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum"],
    "load_efficiency": ["smsp__sass_average_data_bytes_per_sector_mem_global_op_ld.pct"],
    "registers": ["launch__registers_per_thread"],
    "dynamic_shared": ["launch__shared_mem_per_block_dynamic"],
    "static_shared": ["launch__shared_mem_per_block_static"],
}
MMA_FLOPS = 2 * 16 * 8 * 16  # of one mma.m16n8k16

_UNITS = {"": 1, "byte": 1, "byte/block": 1, "Kbyte": 1e3, "Kbyte/block": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}


def _from_ncu_csv(text):
    # Lines that start with == are the tool's own; the first row after the names holds the units.
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    if len(rows) < 2 or "Kernel Name" not in rows[0]:
        raise ProfileError("no kernels in the CSV: expected the output of `ncu --csv --page raw`")
    units, rows = rows[0], rows[1:]

    def figure(row, key):
        value = 0.0
        for name in NCU_METRICS[key]:
            if row.get(name):
                value += float(row[name].replace(",", "")) * _UNITS.get(units.get(name, ""), 1)
        return value

    merged = {}
    for row in rows:
        wavefronts = figure(row, "shared_wavefronts")
        sectors = figure(row, "load_sectors")
        c = Counters(
            tensor_flops=figure(row, "mma") * MMA_FLOPS,
            warp_instructions=figure(row, "warp_instructions"),
            integer_instructions=figure(row, "integer_instructions"),
            mma_instructions=figure(row, "mma"),
            dram_bytes=figure(row, "dram_bytes"),
            load_requests=figure(row, "load_requests"),
            load_bytes=sectors * SECTOR * figure(row, "load_efficiency") / 100,
            load_sectors=sectors,
            store_bytes=figure(row, "store_sectors") * SECTOR,
            store_sectors=figure(row, "store_sectors"),
            shared_wavefronts=wavefronts,
            shared_ideal=max(0.0, wavefronts - figure(row, "conflicts")),
        )
        if c.tensor_flops:
            c.main_load_bytes, c.main_load_sectors = c.load_bytes, c.load_sectors
            c.main_shared_wavefronts, c.main_shared_ideal = c.shared_wavefronts, c.shared_ideal
        threads = 1
        for extent in re.findall(r"\d+", row.get("Block Size", "1")):
            threads *= int(extent)
        shared = int(figure(row, "dynamic_shared") + figure(row, "static_shared"))
        known = merged.get(row["Kernel Name"])
        if known is None:
            merged[row["Kernel Name"]] = ProfiledKernel(row["Kernel Name"], 1, threads, shared, c)
        else:
            known.launches += 1
            known.counters = known.counters + c
    return list(merged.values())


def read_profile(path):
    """[ProfiledKernel] of a profile; raises ProfileError if the file is neither kind."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ProfileError(f"{path}: {error.strerror}") from error
    try:
        if text.lstrip().startswith("{"):
            return _from_json(text)
        return _from_ncu_csv(text)
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ProfileError(f"{path}: not a profile of counters ({error!r})") from error
