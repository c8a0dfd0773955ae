#!/usr/bin/env python3
"""Makes the golden data of the weighted Dice score from torchmetrics.

Usage:
    pip install torchmetrics==1.6.1 torch
    python tests/golden/make_metrics.py

Writes tests/golden/metrics.json: for each case the class indices of reference and prediction (as strings of digits) and
torchmetrics' DiceScore(num_classes=4, include_background=False, average="weighted", input_format="index").
"""

import json
import pathlib

import torch
from torchmetrics.segmentation import DiceScore


def score(reference, prediction):
    metric = DiceScore(num_classes=4, include_background=False, average="weighted", input_format="index")
    return metric(prediction[None], reference[None]).item()


def main():
    generator = torch.Generator().manual_seed(7)
    cases = []
    for noise in (0.0, 0.1, 0.5, 1.0):
        reference = torch.randint(0, 4, (6, 5, 4), generator=generator)
        if noise == 0.5:
            reference[reference == 3] = 0  # a class that only the prediction has
        other = torch.randint(0, 4, (6, 5, 4), generator=generator)
        prediction = torch.where(torch.rand((6, 5, 4), generator=generator) < noise, other, reference)
        if noise == 0.1:
            prediction[prediction == 2] = 1  # a class that only the reference has
        digits = lambda labels: "".join(str(v) for v in labels.flatten().tolist())
        cases.append({"reference": digits(reference), "prediction": digits(prediction),
                      "weighted_dice": score(reference, prediction)})
    pathlib.Path(__file__).with_name("metrics.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
