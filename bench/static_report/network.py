"""The layers of a shape file (bench/shapes) and what each direction takes at least."""

import pathlib
from dataclasses import dataclass

DIRECTIONS = ("fprop", "dgrad", "wgrad")


class ShapeError(Exception):
    pass


@dataclass(frozen=True)
class Layer:
    name: str
    op: str  # conv or transposed
    in_channels: int
    out_channels: int
    depth: int
    height: int
    width: int  # of the input
    kernel: int
    stride: int
    directions: tuple
    batch: int

    @property
    def in_voxels(self):
        return self.batch * self.depth * self.height * self.width

    @property
    def out_voxels(self):
        if self.op == "transposed":
            return self.in_voxels * self.stride**3
        up = [(e + self.stride - 1) // self.stride for e in (self.depth, self.height, self.width)]
        return self.batch * up[0] * up[1] * up[2]

    @property
    def flops(self):
        """Of one direction, padding taps counted."""
        voxels = self.in_voxels if self.op == "transposed" else self.out_voxels
        return 2 * voxels * self.in_channels * self.out_channels * self.kernel**3

    @property
    def least_bytes(self):
        """Both activations and the weights once, in bfloat16."""
        weights = self.in_channels * self.out_channels * self.kernel**3
        return 2 * (self.in_voxels * self.in_channels + self.out_voxels * self.out_channels + weights)

    def reference_ms(self, gpu):
        """The larger of tensor cores' and DRAM's least time: the table that predictions are compared with."""
        return max(self.flops / (gpu.tensor_tflops * 1e12), self.least_bytes / (gpu.dram_gbs * 1e9)) * 1e3


def parse_shapes(text, path="shapes"):
    layers, batch = [], 1
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        where = f"{path}:{number}"
        try:
            if words[0] == "batch":
                batch = int(words[1])
                continue
            if len(words) != 10:
                raise ShapeError(f"{where}: expected 10 columns, found {len(words)}")
            name, op, *figures, directions = words
            if op not in ("conv", "transposed"):
                raise ShapeError(f"{where}: unknown op '{op}' (conv, transposed)")
            chosen = DIRECTIONS if directions == "all" else tuple(directions.split(","))
            if not set(chosen) <= set(DIRECTIONS):
                raise ShapeError(f"{where}: unknown direction in '{directions}'")
            layers.append(Layer(name, op, *map(int, figures), chosen, batch))
        except (ValueError, IndexError) as error:
            raise ShapeError(f"{where}: {error}") from error
    if not layers:
        raise ShapeError(f"{path}: no layers")
    return layers


def read_shapes(path):
    try:
        return parse_shapes(pathlib.Path(path).read_text(encoding="utf-8"), path)
    except OSError as error:
        raise ShapeError(f"{path}: {error.strerror}") from error
