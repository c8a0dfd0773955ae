#!/usr/bin/env python3
"""Times voxgrad's training step and inference against PyTorch's, with MONAI's AttentionUnet, on the CPU, in one run.

Usage, in a virtual environment outside the repository:
    pip install torch monai safetensors numpy
    cmake --build --preset cpu --target voxgrad-bench
    python bench/compare/train_step.py build/cpu/bench/voxgrad-bench [--variants default,channels_last_3d,compile]
        [--mode train,infer] [--rounds 2] [--steps 1] [--threads 2] [--shape 1,4,112,128,80] [--json FILE]

Both take the same weights (MONAI's, exchanged as safetensors), the same volume and labels, the same loss (softmax, Dice over
all classes, smoothing 1), Adam with a rate of 2e-2, and as many threads. Rounds alternate: voxgrad, each variant of PyTorch,
voxgrad, ... A figure is the median over all timed steps of all rounds; a round of either starts with an untimed step. The
losses of the first steps must agree: before the first update to 1e-5, afterwards to 2e-3, since Adam's first steps have the
size of the rate whatever the size of the gradient, so that rounding decides the sign of the smallest ones.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("bench", help="the program voxgrad-bench")
    parser.add_argument("--variants", default="default,channels_last_3d,compile")
    parser.add_argument("--mode", default="train,infer")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1, help="timed steps of PyTorch a round")
    parser.add_argument("--own-steps", type=int, default=5, help="timed steps of voxgrad a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--shape", default="1,4,112,128,80")
    parser.add_argument("--json")
    return parser.parse_args()


options = arguments()
os.environ["OMP_NUM_THREADS"] = str(options.threads)

import monai
import torch
from monai.networks.nets import AttentionUnet
from safetensors.torch import save_file

torch.set_num_threads(options.threads)
SHAPE = [int(n) for n in options.shape.split(",")]


def make_network():
    torch.manual_seed(1)
    return AttentionUnet(
        spatial_dims=3, in_channels=SHAPE[1], out_channels=4, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2)
    )


def make_batch():
    generator = torch.Generator().manual_seed(2)
    n, _, d, h, w = SHAPE
    labels = torch.arange(n * d * h * w).reshape(n, d, h, w) // 97 % 4
    images = torch.randn(SHAPE, generator=generator) + labels[:, None] / 2
    return images, labels.to(torch.uint8)


def dice_loss(logits, labels):
    """Softmax, Dice over samples and classes with background, 1 added above and below, 1 - mean."""
    probabilities = torch.softmax(logits, 1)
    truth = torch.nn.functional.one_hot(labels.long(), logits.shape[1]).movedim(-1, 1)
    axes = (2, 3, 4)
    overlap = (probabilities * truth).sum(axes)
    return 1 - ((2 * overlap + 1) / (probabilities.sum(axes) + truth.sum(axes) + 1)).mean()


class PyTorch:
    """One variant. A round begins anew: same weights, new optimizer."""

    def __init__(self, variant, mode):
        self.variant, self.mode = variant, mode

    def round(self, images, labels):
        torch.manual_seed(1)
        network = make_network()
        if self.variant == "channels_last_3d":
            network, images = network.to(memory_format=torch.channels_last_3d), images.to(memory_format=torch.channels_last_3d)
        network.train(self.mode == "train")
        call = torch.compile(network) if self.variant == "compile" else network
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
        seconds, losses = [], []
        for _ in range(1 + options.steps):
            begin = time.perf_counter()
            if self.mode == "train":
                loss = dice_loss(call(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            else:
                with torch.no_grad():
                    torch.softmax(call(images), 1)
            seconds.append(time.perf_counter() - begin)
        return seconds[1:], losses


class Voxgrad:
    variant = "voxgrad"

    def __init__(self, mode, folder):
        self.mode, self.folder = mode, folder

    def round(self, images, labels):
        result = self.folder / "result.json"
        command = [options.bench, {"train": "train-step", "infer": "infer"}[self.mode], "--shape", options.shape,
                   "--threads", str(options.threads), "--warmup", "1", "--runs", str(options.own_steps),
                   "--json", str(result)]  # fmt: skip
        if self.mode == "train":
            command += ["--weights", str(self.folder / "weights.safetensors"), "--data", str(self.folder / "batch.safetensors")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = json.loads(result.read_text())
        return [found["seconds_median"]], found.get("losses", [])


def check_losses(name, losses, ours):
    """Compares the losses of a variant with voxgrad's; returns whether they agree."""
    agree = True
    for step, (theirs, own) in enumerate(zip(losses, ours)):
        tolerance = 1e-5 if step == 0 else 2e-3
        if not abs(theirs - own) <= tolerance:
            print(f"{name}: loss of step {step + 1} is {theirs:.7f}, voxgrad's {own:.7f}: more than {tolerance} apart")
            agree = False
    return agree


def compare(mode, folder):
    images, labels = make_batch()
    ours = Voxgrad(mode, folder)
    runners = [ours] + [PyTorch(variant, mode) for variant in options.variants.split(",") if variant]
    seconds, losses = {r.variant: [] for r in runners}, {}
    for _ in range(options.rounds):
        for runner in list(runners):
            try:
                found, losses[runner.variant] = runner.round(images, labels)
                seconds[runner.variant] += found
            # torch.compile needs a compiler and a new PyTorch.
            except (RuntimeError, ImportError, AttributeError) as error:
                if runner is ours:
                    raise
                print(f"{runner.variant}: not possible here: {str(error).splitlines()[0]}")
                runners.remove(runner)
                del seconds[runner.variant]
    agree = all([check_losses(name, losses[name], losses["voxgrad"]) for name in seconds if name != "voxgrad"])
    own = statistics.median(seconds["voxgrad"])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{mode:5} {name:18} {median:9.3f} s ({min(times):.3f} to {max(times):.3f})  {median / own:7.1f} x voxgrad")
    if mode == "train":
        print("losses: " + "; ".join(f"{name} " + " ".join(f"{x:.6f}" for x in losses[name][:3]) for name in seconds))
    return {"seconds": seconds, "losses": losses, "agree": agree}


def main():
    print(f"PyTorch {torch.__version__}, MONAI {monai.__version__}, {options.threads} threads, shape {options.shape}")
    results = {"torch": torch.__version__, "monai": monai.__version__, "threads": options.threads, "shape": SHAPE}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        images, labels = make_batch()
        save_file({k: v.contiguous() for k, v in make_network().state_dict().items()}, str(folder / "weights.safetensors"))
        save_file({"input": images, "labels": labels}, str(folder / "batch.safetensors"))
        for mode in options.mode.split(","):
            results[mode] = compare(mode, folder)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    return 0 if all(results[mode]["agree"] for mode in options.mode.split(",")) else 1


if __name__ == "__main__":
    sys.exit(main())
