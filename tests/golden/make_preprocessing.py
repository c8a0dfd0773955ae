#!/usr/bin/env python3
"""Makes the golden data of preprocessing from TorchIO.

Usage:
    pip install torchio==0.20.4 nibabel safetensors numpy
    python tests/golden/make_preprocessing.py

Writes to tests/golden/preprocessing/:
  * image.nii.gz (int16) and labels.nii.gz (uint8): a small synthetic scan, oblique, anisotropic, with flipped and
    permuted axes; zeros around the "head", so that masks matter.
  * steps.safetensors: for each case NAME the outputs NAME.image (float32), NAME.labels (uint8, spatial cases only), in
    the order [k][j][i], and NAME.affine (4x4). The metadata's entry "json" maps NAME to the steps as the text form of
    data/preprocessing.h.
  * The case "back": the output of the case "pipeline" before its padding, resampled onto the grid of the scan.

Deterministic: the same versions give the same bytes.
"""

import gzip
import json
import pathlib

import nibabel
import numpy as np
import torch
import torchio as tio
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parent / "preprocessing"
SHAPE = (17, 14, 12)


def rotation(axis, degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    m = np.eye(3)
    a, b = [i for i in range(3) if i != axis]
    m[a, a], m[a, b], m[b, a], m[b, b] = c, -s, s, c
    return m


def scan_affine():
    """Voxel axes close to P, L, S (permuted and flipped), turned by about 12 degrees, spacing 0.9 x 1.3 x 2 mm."""
    axes = np.array([[0, -1, 0], [-1, 0, 0], [0, 0, 1]], float)
    affine = np.eye(4)
    affine[:3, :3] = rotation(2, 9) @ rotation(0, -8) @ axes @ np.diag([0.9, 1.3, 2.0])
    affine[:3, 3] = [31.5, 27.25, -40.75]
    return affine.astype(np.float32).astype(np.float64)  # what a NIfTI-1 header can hold


def scan():
    rng = np.random.default_rng(20)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt(i**2 + (1.1 * j) ** 2 + (0.9 * k) ** 2)
    image = np.where(radius < 0.95, 900 * np.exp(-radius) + 120 * np.sin(5 * i + 3 * j) + rng.normal(0, 25, SHAPE), 0)
    lesion = np.sqrt((i - 0.2) ** 2 + (j + 0.1) ** 2 + (k - 0.1) ** 2)
    labels = np.select([lesion < 0.2, lesion < 0.35, lesion < 0.6], [4, 1, 2], 0)
    return np.clip(image, 0, None).round().astype(np.int16), labels.astype(np.uint8)


def write_nifti(name, array, affine):
    nifti = nibabel.Nifti1Image(array, affine)
    nifti.set_sform(affine, 1)
    nifti.set_qform(affine, 1)
    (OUT / name).write_bytes(gzip.compress(nifti.to_bytes(), mtime=0))


def nonzero(tensor):
    return tensor != 0


def main():
    OUT.mkdir(exist_ok=True)
    image, labels = scan()
    affine = scan_affine()
    write_nifti("image.nii.gz", image, affine)
    write_nifti("labels.nii.gz", labels, affine)
    subject = tio.Subject(
        image=tio.ScalarImage(tensor=torch.from_numpy(image.astype(np.float32))[None], affine=affine),
        labels=tio.LabelMap(tensor=torch.from_numpy(labels)[None], affine=affine),
    )

    tensors, texts = {}, {}

    def save(name, text, result, with_labels):
        texts[name] = text
        tensors[name + ".image"] = np.ascontiguousarray(result.image.numpy()[0].T.astype(np.float32))
        if with_labels:
            tensors[name + ".labels"] = np.ascontiguousarray(result.labels.numpy()[0].T.astype(np.uint8))
            np.testing.assert_allclose(result.labels.affine, result.image.affine)
        tensors[name + ".affine"] = np.asarray(result.image.affine, np.float64)

    intensity = {
        "rescale": ("rescale(0,1)", tio.RescaleIntensity((0, 1))),
        "rescale_percentiles": ("rescale(-1,2,5,97.5)", tio.RescaleIntensity((-1, 2), percentiles=(5, 97.5))),
        "rescale_nonzero": (
            "rescale(0,1,1,99,nonzero)",
            tio.RescaleIntensity((0, 1), percentiles=(1, 99), masking_method=nonzero),
        ),
        "z_normalize": ("z_normalize", tio.ZNormalization()),
        "z_normalize_nonzero": ("z_normalize(nonzero)", tio.ZNormalization(masking_method=nonzero)),
    }
    spatial = {
        "to_canonical": ("to_canonical", tio.ToCanonical()),
        "crop": ("crop(2,1,0,3,1,4)", tio.Crop((2, 1, 0, 3, 1, 4))),
        "pad": ("pad(1,0,2,3,0,1)", tio.Pad((1, 0, 2, 3, 0, 1))),
        "resample": ("resample(1.5)", tio.Resample(1.5)),
        "resample_three": ("resample(0.7,2.1,1.7)", tio.Resample((0.7, 2.1, 1.7))),
        "shape_multiple": ("shape_multiple(8)", tio.EnsureShapeMultiple(8)),
    }
    for name, (text, transform) in intensity.items():
        save(name, text, transform(subject), with_labels=False)
    for name, (text, transform) in spatial.items():
        save(name, text, transform(subject), with_labels=True)
    steps = [tio.ToCanonical(), tio.RescaleIntensity((0, 1)), tio.Crop((1, 2, 2, 1, 1, 0)), tio.Resample(1.5)]
    resampled = tio.Compose(steps)(subject)
    text = "to_canonical rescale(0,1) crop(1,2,2,1,1,0) resample(1.5)"
    save("pipeline", text + " shape_multiple(8)", tio.EnsureShapeMultiple(8)(resampled), with_labels=True)
    save("back", text, tio.Resample((SHAPE, affine))(resampled), with_labels=True)
    save_file(tensors, OUT / "steps.safetensors", metadata={"json": json.dumps(texts, sort_keys=True)})


if __name__ == "__main__":
    main()
