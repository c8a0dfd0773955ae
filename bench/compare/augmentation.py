#!/usr/bin/env python3
"""Times voxgrad's augmentation against TorchIO's, on one core, in one run.

Usage:
    pip install torchio==0.20.4
    python bench/compare/augmentation.py build/cpu/bench/voxgrad-bench [--rounds 3] [--json FILE]

Both transform the same kind of subject, four images of 112x128x80 voxels from 0 to 1 and a label map, drawing new
parameters for each run. Rounds alternate (TorchIO, voxgrad, TorchIO, ...); a figure is the median over all runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import SimpleITK as sitk
import torch
import torchio as tio

torch.set_num_threads(1)
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)

PAIRS = {
    "random_ghosting(intensity=0.5)": tio.RandomGhosting(intensity=0.5),
    "random_spike(intensity=1)": tio.RandomSpike(intensity=1.0),
    "random_bias_field(coefficients=0.5)": tio.RandomBiasField(coefficients=0.5),
    "random_motion(degrees=10,translation=10)": tio.RandomMotion(degrees=10, translation=10),
    "random_elastic()": tio.RandomElasticDeformation(),
    "random_affine()": tio.RandomAffine(),
    "random_flip(flip_probability=1)": tio.RandomFlip(flip_probability=1),
    "random_noise()": tio.RandomNoise(),
    "random_gamma()": tio.RandomGamma(),
    "random_blur()": tio.RandomBlur(),
    "random_anisotropy()": tio.RandomAnisotropy(),
}


def subject():
    generator = torch.Generator().manual_seed(1)
    affine = np.array([[1.5, 0, 0, -80], [0, 1.5, 0, -110], [0, 0, 1.5, -60], [0, 0, 0, 1]])
    shape = (1, 112, 128, 80)
    images = {f"image{i}": tio.ScalarImage(tensor=torch.rand(shape, generator=generator), affine=affine) for i in range(4)}
    labels = torch.randint(0, 4, shape, generator=generator, dtype=torch.uint8)
    return tio.Subject(labels=tio.LabelMap(tensor=labels, affine=affine), **images)


def time_torchio(transform, scan, runs):
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        transform(scan)
        seconds.append(time.perf_counter() - begin)
    return seconds


def time_voxgrad(bench, texts):
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [bench, "augment", "--threads", "1", "--json", file.name]
        for text in texts:
            command += ["--transform", text]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return {text: entry["seconds_median"] for text, entry in json.load(open(file.name)).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", help="path of voxgrad-bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3, help="of TorchIO in each round")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    scan = subject()
    torchio_seconds, voxgrad_seconds = {text: [] for text in PAIRS}, {text: [] for text in PAIRS}
    for transform in PAIRS.values():
        time_torchio(transform, scan, 1)  # warm-up
    for _ in range(options.rounds):
        for text, transform in PAIRS.items():
            torchio_seconds[text] += time_torchio(transform, scan, options.runs)
        for text, seconds in time_voxgrad(options.bench, PAIRS).items():
            voxgrad_seconds[text].append(seconds)
    print(f"TorchIO {tio.__version__}, PyTorch {torch.__version__}; one thread each; medians in milliseconds")
    print(f"{'transform':42} {'TorchIO':>9} {'voxgrad':>9} {'ratio':>7}")
    results = {}
    for text in PAIRS:
        theirs, ours = statistics.median(torchio_seconds[text]), statistics.median(voxgrad_seconds[text])
        results[text] = {"torchio_seconds": theirs, "voxgrad_seconds": ours, "ratio": theirs / ours}
        print(f"{text:42} {1e3 * theirs:9.1f} {1e3 * ours:9.1f} {theirs / ours:6.1f}x")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
