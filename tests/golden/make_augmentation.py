#!/usr/bin/env python3
"""Makes the golden data of augmentation from TorchIO.

Usage:
    apt install mricron-data        # ch2bet.nii.gz, a real T1 head
    pip install torchio==0.20.4 nibabel safetensors numpy
    python tests/golden/make_augmentation.py

Writes to tests/golden/augmentation/:
  * phantom.nii.gz, head.nii.gz (float32) and labels.nii.gz (uint8): a synthetic scan with a lesion on an oblique,
    anisotropic grid, a crop of the real head at 3 mm with the same extents, and labels for both.
  * cases.safetensors: for each case NAME the outputs NAME.phantom, NAME.head (float32) and, for spatial transforms,
    NAME.labels (uint8), in the order [i][j][k]. The metadata's entry "json" maps NAME to {"text": the transform as
    `voxgrad transform --apply` takes it, "labels": true or false}.

Deterministic: the same versions give the same bytes.
"""

import gzip
import json
import pathlib

import nibabel
import numpy as np
import SimpleITK as sitk
import torch
import torchio as tio
from make_preprocessing import rotation
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parent / "augmentation"
SHAPE = (21, 24, 17)


def phantom():
    rng = np.random.default_rng(5)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt(i**2 + (1.1 * j) ** 2 + (0.9 * k) ** 2)
    image = np.where(radius < 0.9, np.exp(-radius) + 0.2 * np.sin(5 * i + 3 * j) + rng.normal(0, 0.02, SHAPE), 0)
    lesion = np.sqrt((i - 0.2) ** 2 + (j + 0.1) ** 2 + (k - 0.1) ** 2)
    labels = np.select([lesion < 0.25, lesion < 0.4, lesion < 0.65], [4, 1, 2], 0)
    affine = np.eye(4)
    affine[:3, :3] = rotation(2, 9) @ rotation(0, -8) @ np.diag([3.0, 2.6, 4.0])
    affine[:3, 3] = [-31.5, 27.25, -40.75]
    return image.astype(np.float32), labels.astype(np.uint8), affine.astype(np.float32).astype(np.float64)


def head():
    scan = nibabel.load("/usr/share/mricron/templates/ch2bet.nii.gz")
    data = np.asarray(scan.dataobj)[::3, ::3, ::3]
    begin = [(a - b) // 2 for a, b in zip(data.shape, SHAPE)]
    crop = data[tuple(slice(b, b + n) for b, n in zip(begin, SHAPE))].astype(np.float32) / 100
    affine = scan.affine @ np.diag([3, 3, 3, 1])
    affine[:3, 3] = (scan.affine @ [*(3 * b for b in begin), 1])[:3]
    return crop, affine


def listed(values):
    values = [v if float(v) != int(v) else int(v) for v in np.asarray(values, float).ravel().tolist()]
    return "(" + ",".join(repr(v) for v in values) + ")" if len(values) != 1 else repr(values[0])


def euler(degrees):
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.radians(degrees).tolist())
    return np.array(transform.GetMatrix()).reshape(3, 3)


class MotionAboutImageCenter(tio.Motion):
    """TorchIO's transform loses the centre of rotation; here it is put back into the translation."""

    def get_rigid_transforms(self, degrees, translation, image):
        center = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
        moved = [t + center - euler(d) @ center for d, t in zip(degrees, translation)]
        return super().get_rigid_transforms(degrees, np.array(moved), image)


def cases():
    """(name, text, transform, moves labels)"""
    f = lambda v: float(np.float32(v))
    for name, ghosts, axis, intensity, restore in (
        ("ghosting_0", 4, 0, 0.5, None), ("ghosting_1", 5, 1, 0.75, None), ("ghosting_2", 7, 2, 1.0, 0.25),
        ("ghosting_odd", 10, 0, 0.625, 0.5)):
        text = f"ghosting(num_ghosts={ghosts},axis={axis},intensity={intensity}" + (
            f",restore={restore})" if restore is not None else ")")
        yield name, text, tio.Ghosting(ghosts, axis, intensity, restore), False
    for name, positions, intensity in (("spike_one", [[0.25, 0.8, 0.45]], 0.75), ("spike_negative", [[0.6, 0.1, 0.9]], -1),
                                       ("spike_three", [[0.1, 0.2, 0.3], [0.5, 0.5, 0.5], [0.9, 0.4, 0.7]], 1.5)):
        positions = np.float32(positions)
        yield name, f"spike(spikes_positions={listed(positions)},intensity={intensity})", tio.Spike(positions, intensity), False
    rng = np.random.default_rng(11)
    for order in (3, 2):
        count = (order + 1) * (order + 2) * (order + 3) // 6
        coefficients = [f(v) for v in rng.uniform(-0.5, 0.5, count)]
        yield (f"bias_field_{order}", f"bias_field(coefficients={listed(coefficients)},order={order})",
               tio.BiasField(coefficients, order), False)
    for name, kind, center, times in (("motion", MotionAboutImageCenter, "image", [0.3, 0.72]),
                                      ("motion_late", MotionAboutImageCenter, "image", [0.6, 0.7, 0.8]),
                                      ("motion_early", MotionAboutImageCenter, "image", [0.2, 0.4]),
                                      ("motion_compat", tio.Motion, "origin", [0.35, 0.6])):
        n = len(times)
        times, degrees, shift = np.float32(times), np.float32(rng.uniform(-8, 8, (n, 3))), np.float32(rng.uniform(-5, 5, (n, 3)))
        text = (f"motion(times={listed(times)},degrees={listed(degrees)},translation={listed(shift)},center={center})")
        yield name, text, kind(degrees, shift, times, "linear"), False
    yield "gamma", "gamma(gamma=0.8)", tio.Gamma(0.8), False
    yield "gamma_up", "gamma(gamma=1.35)", tio.Gamma(1.35), False
    yield "shift", "noise(mean=0.25,std=0,seed=1)", tio.Noise(0.25, 0.0, 1), False
    yield "blur", "blur(std=(2,3.5,0))", tio.Blur((2, 3.5, 0)), False
    yield "blur_wide", "blur(std=9)", tio.Blur((9, 9, 9)), False
    for axis, factor in ((0, 1.5), (1, 3.25), (2, 5)):
        yield (f"anisotropy_{axis}", f"anisotropy(axis={axis},downsampling={factor})",
               tio.RandomAnisotropy(axes=axis, downsampling=(factor, factor)), False)
    for name, scales, degrees, shift in (("affine_scale", (0.9, 1.2, 1.05), (0, 0, 0), (0, 0, 0)),
                                         ("affine_turn", (1, 1, 1), (10, -7, 5), (0, 0, 0)),
                                         ("affine_all", (1.1, 0.85, 0.95), (-9, 4, 12), (3, -4.5, 2))):
        yield (name, f"affine(scales={listed(scales)},degrees={listed(degrees)},translation={listed(shift)})",
               tio.Affine(scales, degrees, shift), True)
    yield ("affine_origin", "affine(scales=(1.1,0.95,1),degrees=(3,-2,4),translation=(1,2,3),center=origin,"
           "default_pad_value=0.5)",
           tio.Affine((1.1, 0.95, 1), (3, -2, 4), (1, 2, 3), center="origin", default_pad_value=0.5), True)
    for name, points, largest in (("elastic", (7, 7, 7), 7.5), ("elastic_uneven", (5, 6, 8), 4.0)):
        grid = np.float32(rng.uniform(-largest, largest, (*points, 3)))
        for layer in range(2):  # locked, as a random transform has it
            for axis in range(3):
                edge = [slice(None)] * 3
                for edge[axis] in (layer, -1 - layer):
                    grid[tuple(edge)] = 0
        yield (name, f"elastic(num_control_points={listed(points)},control_points={listed(grid)})",
               tio.ElasticDeformation(grid, (largest,) * 3), True)
    grid = np.float32(rng.uniform(-6, 6, (4, 4, 5, 3)))
    yield ("elastic_free", f"elastic(num_control_points=(4,4,5),control_points={listed(grid)})",
           tio.ElasticDeformation(grid, (6, 6, 6)), True)
    yield "flip_0", "flip(axes=0)", tio.Flip(0), True
    yield "flip_12", "flip(axes=(1,2))", tio.Flip((1, 2)), True


def main():
    OUT.mkdir(exist_ok=True)
    image, labels, affine = phantom()
    crop, crop_affine = head()
    for name, array, grid in (("phantom", image, affine), ("head", crop, crop_affine), ("labels", labels, affine)):
        nifti = nibabel.Nifti1Image(array, grid)
        (OUT / f"{name}.nii.gz").write_bytes(gzip.compress(nifti.to_bytes(), mtime=0))
    tensors, texts = {}, {}
    for name, text, transform, moves in cases():
        texts[name] = {"text": text, "labels": moves}
        for scan, array, grid in (("phantom", image, affine), ("head", crop, crop_affine)):
            out = transform(tio.ScalarImage(tensor=torch.from_numpy(array)[None], affine=grid))
            tensors[f"{name}.{scan}"] = np.ascontiguousarray(out.numpy()[0], np.float32)
        if moves:
            out = transform(tio.LabelMap(tensor=torch.from_numpy(labels)[None], affine=affine))
            tensors[f"{name}.labels"] = np.ascontiguousarray(out.numpy()[0]).astype(np.uint8)
    save_file(tensors, OUT / "cases.safetensors", metadata={"json": json.dumps(texts)})


if __name__ == "__main__":
    main()
