#!/usr/bin/env python3
"""Makes the golden data of the networks, losses, optimizers and schedules from PyTorch and MONAI.

Usage:
    pip install torch==1.13.1 monai==1.4.0 safetensors numpy
    python tests/golden/make_golden.py [--out FOLDER] [PART ...]    # PART: networks training losses optimizers schedules

Conventions of every file:
  * Tensors have PyTorch's order: activations N,C,D,H,W, labels N,D,H,W (uint8), weights as in the state dict.
  * PyTorch computes in double from float32 inputs and weights, and the results are rounded to float32: what a test
    compares with carries no rounding noise of its own. `torch_float32_error` in the metadata says how far PyTorch itself
    is off in float32 (largest |difference| / largest |value|, worst tensor of the group).
  * NAME.weights.safetensors is MONAI's state dict and nothing else (num_batches_tracked is int64).
  * NAME.safetensors holds what was computed with it: input, labels, logits_train, logits_eval (with the state dict's
    running statistics), loss (of logits_train), gradient/<parameter>, after/<buffer> (after the one forward in train
    mode). The metadata's one entry, "json", gives the architecture and `torch_float32_error`.

Deterministic: one thread, seeded; the same versions give the same bytes.
"""

import argparse
import copy
import itertools
import json
import math
import pathlib
import warnings

import torch
from monai.losses import DiceCELoss, DiceLoss
from monai.networks.nets import AttentionUnet, UNet
from monai.optimizers import WarmupCosineSchedule
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent


def save(name, tensors, metadata=None):
    """Writes OUT/name.safetensors with float64 rounded to float32. The metadata is one entry, "json": several would be
    written in an order that changes from run to run."""
    tensors = {k: (v.float() if v.dtype == torch.float64 else v).detach().contiguous() for k, v in tensors.items()}
    path = OUT / f"{name}.safetensors"
    save_file(tensors, str(path), metadata={"json": json.dumps(metadata)} if metadata else None)
    path.chmod(0o644)


def save_json(name, value):
    (OUT / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")


def build(architecture):
    """The network of an architecture as voxgrad writes it in JSON."""
    arguments = {k: architecture[k] for k in ("in_channels", "out_channels", "channels", "strides")}
    if architecture["name"] == "attention_unet":
        return AttentionUnet(spatial_dims=3, **arguments)
    return UNet(spatial_dims=3, norm="batch", num_res_units=0, **arguments)


def seed_loss():
    """The loss of the seed: softmax, background included, smooth 1 above and below."""
    return DiceLoss(softmax=True, to_onehot_y=True, smooth_nr=1.0, smooth_dr=1.0)


def randomise_norms_and_slopes(network):
    """Moves batch norms, their statistics and PReLU slopes away from their initial values, where mistakes hide."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.weight.data.uniform_(0.6, 1.6)
            module.bias.data.uniform_(-0.4, 0.4)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.fill_(7)
        elif isinstance(module, torch.nn.PReLU):
            module.weight.data.uniform_(0.1, 0.4)


def smooth_volume(shape, size):
    """Noise with structure at several scales, so that deep levels see variance too. shape: (n, c)."""
    volume = torch.zeros(*shape, *size)
    for divisor in (1, 2, 4, 8):
        coarse = torch.randn(*shape, *[max(2, s // divisor) for s in size])
        volume += torch.nn.functional.interpolate(coarse, size=size, mode="trilinear", align_corners=False)
    return volume / 2


def labels_of(volume, classes):
    """Labels that can be learnt from the volume: quantiles of the first channel, every class present. [N,D,H,W]."""
    first = volume[:, 0].contiguous()
    borders = torch.quantile(first.flatten(), torch.linspace(0, 1, classes + 1)[1:-1])
    return torch.bucketize(first, borders).to(torch.uint8)


def relative_error(a, b):
    """Largest |a - b| / largest |b| of two lists of tensors, worst pair; pairs whose b is only noise are left out."""
    errors = [0.0]
    for x, y in zip(a, b):
        if y.abs().max() > 1e-12:
            errors.append(float((x.double() - y).abs().max() / y.abs().max()))
    return max(errors)


def run_network(network, volume, labels):
    """Forward in both modes and the gradients of the seed's loss; the network is left as after one training forward."""
    network.eval()
    with torch.no_grad():
        logits_eval = network(volume)
    network.train()
    network.zero_grad()
    logits_train = network(volume)
    loss = seed_loss()(logits_train, labels[:, None].long())
    loss.backward()
    gradients = {k: p.grad.clone() for k, p in network.named_parameters()}
    buffers = {k: b.clone() for k, b in network.named_buffers()}
    return logits_train.detach(), logits_eval, loss.detach(), gradients, buffers


def network_case(name, architecture, size, seed):
    torch.manual_seed(seed)
    network = build(architecture)
    randomise_norms_and_slopes(network)
    volume = smooth_volume((2, architecture["in_channels"]), size)
    labels = labels_of(volume, architecture["out_channels"])
    save(f"{name}.weights", network.state_dict())

    exact = run_network(copy.deepcopy(network).double(), volume.double(), labels)
    single = run_network(network, volume, labels)
    logits_train, logits_eval, loss, gradients, buffers = exact
    error = {
        "logits_train": relative_error([single[0]], [logits_train]),
        "logits_eval": relative_error([single[1]], [logits_eval]),
        "loss": relative_error([single[2]], [loss]),
        "gradient": relative_error([single[3][k] for k in gradients], list(gradients.values())),
    }
    save(
        name,
        {
            "input": volume,
            "labels": labels,
            "logits_train": logits_train,
            "logits_eval": logits_eval,
            "loss": loss.reshape(1),
            **{f"gradient/{k}": v for k, v in gradients.items()},
            **{f"after/{k}": v for k, v in buffers.items()},
        },
        {"architecture": architecture, "torch_float32_error": error},
    )


def architecture(name, in_channels, out_channels, channels):
    return {
        "name": name,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "channels": channels,
        "strides": [2] * (len(channels) - 1),
        "dropout": 0.0,
    }


def make_networks():
    network_case("attention_unet", architecture("attention_unet", 4, 4, [4, 8, 16]), (12, 8, 16), 1)
    network_case("attention_unet_odd", architecture("attention_unet", 3, 2, [5, 6, 7]), (8, 12, 8), 2)
    network_case("attention_unet_deep", architecture("attention_unet", 1, 2, [4, 4, 8, 8, 16]), (32, 32, 16), 3)
    network_case("unet", architecture("unet", 4, 4, [4, 8, 16]), (12, 8, 16), 4)
    network_case("unet_odd", architecture("unet", 3, 2, [5, 6]), (6, 8, 10), 5)
    # Names, order and shapes of whole state dicts: of the seed's network and of the plain U-Net of its size.
    listing = {}
    for name in ("attention_unet", "unet"):
        network = build(architecture(name, 4, 4, [16, 32, 64, 128, 256]))
        listing[name] = {
            "parameter_count": sum(p.numel() for p in network.parameters()),
            "parameters": [k for k, _ in network.named_parameters()],
            "state_dict": [[k, list(v.shape)] for k, v in network.state_dict().items()],
        }
    (OUT / "state_dicts.json").write_text(json.dumps(listing, separators=(",", ":")) + "\n")


TRAINING_STEPS = 12
COMPARED_STEPS = 3


def train(network, volume, labels):
    """The seed's training on one batch, an epoch being one step: Adam 2e-2, StepLR(10, 0.9).

    Returns the losses, the rates and the state dict after COMPARED_STEPS.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.9)
    loss_function = seed_loss()
    losses, rates = [], []
    network.train()
    for step in range(TRAINING_STEPS):
        optimizer.zero_grad()
        loss = loss_function(network(volume), labels[:, None].long())
        loss.backward()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
        losses.append(float(loss))
        if step + 1 == COMPARED_STEPS:
            state = copy.deepcopy(network.state_dict())
    return losses, rates, state


def make_training():
    """training.weights (before), training.step3.weights (after three steps) and the losses of twelve steps.

    Adam divides a gradient by its own size, so an element whose gradient happens to be near zero turns rounding noise
    into a whole step and the weights of two correct implementations drift apart: after twelve steps by up to 20%
    (measured with noise of 1e-6 of each gradient's maximum), while their losses stay within 4e-4. Hence the weights are
    compared after three steps, the losses to the end. The random seed is one with which few such elements occur.
    A convolution's bias in front of a norm has gradient zero: in double it stays, in float32 Adam moves it by rounding
    noise. Such biases, and the running means that contain them, are not comparable directly.
    """
    config = architecture("attention_unet", 4, 4, [4, 8, 16])
    torch.manual_seed(42)
    network = build(config)
    volume = smooth_volume((2, 4), (16, 16, 16))
    labels = labels_of(volume, 4)
    save("training.weights", network.state_dict())
    losses, rates, state = train(copy.deepcopy(network).double(), volume.double(), labels)
    single_losses, _, single_state = train(network, volume, labels)
    save("training.step3.weights", state)
    errors = {k: float((single_state[k] - v).double().norm() / v.double().norm()) for k, v in state.items()}
    save(
        "training",
        {"input": volume, "labels": labels, "losses": torch.tensor(losses), "rates": torch.tensor(rates)},
        {
            "architecture": config,
            "torch_float32_losses": single_losses,
            "torch_float32_weights_error": {k: round(v, 7) for k, v in errors.items()},
        },
    )


def index_labels(shape, classes, absent):
    """Random class indices; `absent` does not occur in sample 0, so that an empty class is tested."""
    labels = torch.randint(0, classes, shape)
    labels[0][labels[0] == absent] = 0
    return labels


def loss_case(cases, tensors, function, kind, options, input_name, labels_name, target):
    """Loss, and the gradient of sum(loss * upstream) with respect to the input."""
    value = tensors[input_name].double().requires_grad_()
    loss = function(value, target)
    upstream = torch.linspace(0.5, 1.5, loss.numel()).double().reshape(loss.shape)
    (loss * upstream).sum().backward()
    name = f"{len(cases):03d}"
    tensors[f"{name}/loss"] = loss.flatten()
    tensors[f"{name}/upstream"] = upstream.flatten()
    tensors[f"{name}/gradient"] = value.grad
    cases.append({"case": name, "kind": kind, "input": input_name, "labels": labels_name, **options})


def dice_cases(cases, tensors):
    """Every combination of MONAI's DiceLoss options; the smooth values rotate through the cases."""
    smooths = [(1e-5, 1e-5), (1.0, 1.0), (0.0, 0.25)]
    options = itertools.product(
        ["softmax", "sigmoid", "none"], [True, False], [False, True], [False, True], [False, True],
        ["mean", "sum", "none"], [False, True],
    )  # fmt: skip
    for index, (activation, background, squared, jaccard, batch, reduction, weighted) in enumerate(options):
        channels = 4 if background else 3
        weights = [0.5, 2.0, 1.0, 0.25][:channels] if weighted else None
        smooth = smooths[index % 3] if index % 2 else smooths[(index // 2) % 3]
        # Overlapping regions belong to sigmoid; every other of its cases takes them.
        regions = activation == "sigmoid" and (index // 2) % 2 == 1
        input_name = "probabilities" if activation == "none" else "logits"
        labels_name = "regions" if regions else "labels"
        arguments = {
            "include_background": background, "squared_pred": squared, "jaccard": jaccard, "batch": batch,
            "reduction": reduction, "smooth_nr": smooth[0], "smooth_dr": smooth[1], "weight": weights,
        }  # fmt: skip
        function = DiceLoss(
            softmax=activation == "softmax", sigmoid=activation == "sigmoid", to_onehot_y=not regions, **arguments
        ).double()
        target = tensors[labels_name].double() if regions else tensors[labels_name][:, None].double()
        loss_case(
            cases, tensors, function, "dice", {"activation": activation, **arguments}, input_name, labels_name, target
        )
    # One channel: include_background=False is ignored.
    arguments = {"include_background": False, "reduction": "mean", "smooth_nr": 1.0, "smooth_dr": 1.0}
    full = {"activation": "sigmoid", "squared_pred": False, "jaccard": False, "batch": False, "weight": None, **arguments}
    function = DiceLoss(sigmoid=True, **arguments)
    loss_case(
        cases, tensors, function, "dice", full, "single_logits", "single_labels",
        tensors["single_labels"].double(),
    )  # fmt: skip


def cross_entropy_cases(cases, tensors):
    target = tensors["labels"].long()
    for weights, reduction in itertools.product([None, [0.5, 2.0, 1.0, 0.25]], ["mean", "sum"]):
        weight = torch.tensor(weights).double() if weights else None
        function = torch.nn.CrossEntropyLoss(weight=weight, reduction=reduction)
        options = {"reduction": reduction, "weight": weights}
        loss_case(cases, tensors, function, "cross_entropy", options, "logits", "labels", target)
    for weights, background, (dice, ce) in itertools.product(
        [None, [0.5, 2.0, 1.0, 0.25]], [True, False], [(1.0, 1.0), (0.7, 1.3)]
    ):
        weight = torch.tensor(weights).double() if weights else None
        function = DiceCELoss(
            softmax=True, to_onehot_y=True, include_background=background, weight=weight, lambda_dice=dice, lambda_ce=ce
        )
        options = {
            "include_background": background, "weight": weights, "lambda_dice": dice, "lambda_ce": ce,
            "smooth_nr": 1e-5, "smooth_dr": 1e-5, "reduction": "mean",
        }  # fmt: skip
        loss_case(cases, tensors, function, "dice_ce", options, "logits", "labels", target[:, None].double())


def make_losses():
    """losses.json lists the cases by MONAI's option names; losses.safetensors holds their loss, upstream and gradient."""
    torch.manual_seed(7)
    size = (2, 3, 4)
    logits = 2 * torch.randn(2, 4, *size)
    tensors = {
        "logits": logits,
        "probabilities": torch.softmax(logits, 1),
        "labels": index_labels((2, *size), 4, 3).to(torch.uint8),
        "regions": torch.randint(0, 2, (2, 4, *size)).to(torch.uint8),
        "single_logits": torch.randn(2, 1, *size),
        "single_labels": torch.randint(0, 2, (2, 1, *size)).to(torch.uint8),
    }
    cases = []
    dice_cases(cases, tensors)
    cross_entropy_cases(cases, tensors)
    save("losses", tensors)
    (OUT / "losses.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


def make_optimizers():
    """optimizers.json lists the cases; <case>/parameters [10, 11] are the values after each step with gradients[step]."""
    torch.manual_seed(8)
    steps, count = 10, 11
    initial = torch.randn(count)
    gradients = torch.randn(steps, count) * torch.logspace(-4, 1, count)
    gradients[:, 0] = 0
    cases = [
        {"case": "adam", "kind": "adam", "lr": 2e-2},
        {"case": "adam_options", "kind": "adam", "lr": 1e-2, "betas": [0.8, 0.95], "eps": 1e-6, "weight_decay": 0.1},
        {"case": "adamw", "kind": "adamw", "lr": 1e-2, "weight_decay": 0.05},
        {"case": "adamw_options", "kind": "adamw", "lr": 3e-2, "betas": [0.7, 0.9], "eps": 1e-7, "weight_decay": 0.2},
        {"case": "sgd", "kind": "sgd", "lr": 1e-2},
        {"case": "sgd_momentum", "kind": "sgd", "lr": 1e-2, "momentum": 0.9},
        {"case": "sgd_nesterov", "kind": "sgd", "lr": 1e-2, "momentum": 0.99, "nesterov": True, "weight_decay": 3e-5},
        {"case": "sgd_weight_decay", "kind": "sgd", "lr": 5e-2, "momentum": 0.5, "weight_decay": 0.1},
    ]
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    tensors = {"initial": initial, "gradients": gradients}
    for case in cases:
        parameter = torch.nn.Parameter(initial.double())
        optimizer = kinds[case["kind"]]([parameter], **{k: v for k, v in case.items() if k not in ("case", "kind")})
        history = []
        for gradient in gradients:
            parameter.grad = gradient.double()
            optimizer.step()
            history.append(parameter.detach().clone())
        tensors[f"{case['case']}/parameters"] = torch.stack(history)
    save("optimizers", tensors)
    save_json("optimizers", cases)


def learning_rates(make, lr, steps, metrics=None):
    """The rate used in each of `steps` epochs: the scheduler steps at the end of each."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if metrics is None:
            scheduler.step()
        else:
            scheduler.step(metrics[step])
    return rates


def torch_warmup_cosine(optimizer, warmup, total, start_factor, end_lr):
    """PyTorch's way: LinearLR for `warmup` steps, then CosineAnnealingLR down to end_lr at step `total`."""
    schedule = torch.optim.lr_scheduler
    linear = schedule.LinearLR(optimizer, start_factor=start_factor, total_iters=warmup)
    cosine = schedule.CosineAnnealingLR(optimizer, T_max=total - warmup, eta_min=end_lr)
    return schedule.SequentialLR(optimizer, [linear, cosine], milestones=[warmup])


def make_schedules():
    """schedules.json: `rates[e]` is the rate of epoch (or step) e, counted from 0.

    warmup_cosine: lr * (start + (1 - start) * e / warmup) for e < warmup, then
    end + (lr - end) * (1 + cos(pi * (e - warmup) / (total - warmup))) / 2. MONAI's WarmupCosineSchedule with end_lr 0 and
    PyTorch's LinearLR followed by CosineAnnealingLR are both this; `source` says which made a case.
    """
    schedule = torch.optim.lr_scheduler
    cases = []

    def add(case, make, steps, metrics=None):
        if metrics is not None:
            case["metrics"] = metrics
        cases.append({**case, "rates": learning_rates(make, case["lr"], steps, metrics)})

    for lr, size, gamma, steps in [(2e-2, 10, 0.9, 35), (1.0, 3, 0.5, 10)]:
        add(
            {"kind": "step", "lr": lr, "step_size": size, "gamma": gamma},
            lambda o, size=size, gamma=gamma: schedule.StepLR(o, size, gamma),
            steps,
        )
    for lr, total, power in [(1e-2, 20, 0.9), (0.5, 7, 2.0)]:
        add(
            {"kind": "polynomial", "lr": lr, "total": total, "power": power},
            lambda o, total=total, power=power: schedule.PolynomialLR(o, total, power),
            total + 3,
        )
    for lr, warmup, total, start in [(1e-2, 5, 20, 0.0), (2e-2, 4, 15, 0.1), (1e-3, 0, 10, 0.0)]:
        add(
            {"kind": "warmup_cosine", "source": "monai", "lr": lr, "warmup": warmup, "total": total,
             "start_factor": start, "end_lr": 0.0},
            lambda o, w=warmup, t=total, s=start: WarmupCosineSchedule(o, w, t, warmup_multiplier=s),
            total + 1,
        )  # fmt: skip
    for lr, warmup, total, start, end in [(1e-2, 5, 20, 0.01, 1e-5), (0.1, 3, 12, 0.5, 0.0)]:
        add(
            {"kind": "warmup_cosine", "source": "torch", "lr": lr, "warmup": warmup, "total": total,
             "start_factor": start, "end_lr": end},
            lambda o, w=warmup, t=total, s=start, e=end: torch_warmup_cosine(o, w, t, s, e),
            total + 1,
        )  # fmt: skip
    metrics = [1.0, 0.9, 0.9, 0.89999, 0.91, 0.95, 0.9, 0.7, 0.71, 0.72, 0.7, 0.7, 0.69, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    for options in [
        {"mode": "min", "factor": 0.1, "patience": 2, "threshold": 1e-4, "threshold_mode": "rel", "cooldown": 0,
         "min_lr": 0.0},
        {"mode": "min", "factor": 0.5, "patience": 1, "threshold": 0.05, "threshold_mode": "abs", "cooldown": 2,
         "min_lr": 0.02},
        {"mode": "max", "factor": 0.5, "patience": 3, "threshold": 1e-2, "threshold_mode": "rel", "cooldown": 1,
         "min_lr": 1e-3},
    ]:  # fmt: skip
        add(
            {"kind": "plateau", "lr": 0.1, **options},
            lambda o, options=options: schedule.ReduceLROnPlateau(o, **options),
            len(metrics),
            metrics,
        )
    for case in cases:
        assert all(math.isfinite(r) for r in case["rates"])
    (OUT / "schedules.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


PARTS = {
    "networks": make_networks,
    "training": make_training,
    "losses": make_losses,
    "optimizers": make_optimizers,
    "schedules": make_schedules,
}


def main():
    global OUT
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    arguments = parser.parse_args()
    unknown = [p for p in arguments.parts if p not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]}")
    OUT = arguments.out
    OUT.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    warnings.simplefilter("ignore", UserWarning)
    for part in arguments.parts or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
