"""Tables of kernels, layers and whole steps: as Markdown and as JSON."""

import re

from static_report import devices
from static_report.sass import check_main_loops, mix_of, short_name

PREDICTED_GPUS = ("A100-40", "A100-80", "H100", "RTX 4090")
JUDGED_GPUS = ("A100-40", "H100")
MOST_RATIO = 1.3
MOST_CONFLICTS = 1.05
LEAST_EFFICIENCY = 0.9
MOST_STEP_BYTES = 13e9


def _share(part, whole):
    return f"{100 * part / whole:.0f}%" if whole else "-"


def _figure(value, form="{:.2f}"):
    return "-" if value is None else form.format(value)


def _table(names, rows):
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


class Report:
    """Collects tables, figures and judged rules."""

    def __init__(self):
        self.lines, self.data, self.rules = [], {}, []

    def judge(self, where, rule, passed, found):
        self.rules.append({"where": where, "rule": rule, "passed": bool(passed), "found": found})

    @property
    def failures(self):
        return [r for r in self.rules if not r["passed"]]

    def section(self, title, lines):
        self.lines += [f"## {title}", ""] + lines + [""]

    def markdown(self):
        verdict = []
        for rule in self.rules:
            if rule["passed"]:
                continue
            verdict.append(f"- FAIL {rule['where']}: {rule['rule']} (found {rule['found']})")
        by_rule = {}
        for rule in self.rules:
            by_rule.setdefault(rule["rule"], []).append(rule["passed"])
        for text, passed in by_rule.items():
            verdict.append(
                f"- {'PASS' if all(passed) else 'FAIL'} {text}: {sum(passed)} of {len(passed)}"
            )
        return "\n".join(["# Static report", ""] + self.lines + ["## Rules", ""] + verdict + [""])


def add_kernels(report, kernels, demangled, launches, judged=re.compile(""), turns=()):
    """A row for each kernel and architecture.

    `launches`: {short name: (threads, shared bytes)}; `judged`: names of the kernels whose main loops are judged;
    `turns`: [(pattern of names, how often the inner loops of their main loops run)].
    """
    rows, data = [], []
    for kernel in kernels:
        name = short_name(demangled.get(kernel.name, kernel.name))
        where = f"{name} sm_{kernel.architecture}"
        inner_turns = next((count for pattern, count in turns if pattern.search(name)), 1)
        whole, loop = kernel.mix(), kernel.main_loop(inner_turns)
        main = mix_of(loop.instructions) if loop else None
        threads, shared = launches.get(name, (None, kernel.static_shared))
        resident = "-"
        limits = devices.ARCHITECTURES.get(kernel.architecture)
        if threads and limits and kernel.registers is not None:
            blocks, warps, limit = devices.occupancy(limits, kernel.registers, threads, shared or 0)
            resident = f"{blocks} x {threads}, {100 * warps / limits.warps:.0f}% ({limit})"
        spills = kernel.spill_bytes
        if spills is not None:
            report.judge(where, "no spilled registers", spills == 0, f"{spills} B")
        elif whole.local == 0:
            report.judge(where, "no spilled registers", True, "no LDL or STL")
        for rule in check_main_loops(kernel, inner_turns) if judged.search(name) else []:
            report.judge(where, rule.text, rule.passed, rule.found)
        rows.append(
            [
                f"`{name}`",
                kernel.architecture,
                kernel.registers if kernel.registers is not None else "-",
                f"{spills} B" if spills is not None else f"{whole.local} LDL/STL",
                shared if shared is not None else "-",
                resident,
                _share(main.mma, main.total) if main else "-",
                _share(whole.wide_loads, whole.loads),
                f"{main.mma}" if main else "-",
                f"{main.integer / main.products:.2f}" if main else "-",
                f"{main.ldsm} / {main.lds[16]} / {sum(main.lds.values()) - main.lds[16]}" if main else "-",
                f"{main.ldgsts[16]} / {sum(main.ldg.values())}" if main else "-",
            ]
        )
        data.append(
            {
                "kernel": name,
                "architecture": kernel.architecture,
                "registers": kernel.registers,
                "spill_bytes": spills,
                "local_instructions": whole.local,
                "shared_bytes": shared,
                "threads": threads,
                "occupancy": resident,
                "instructions": whole.total,
                "wide_loads": whole.wide_loads,
                "loads": whole.loads,
                "main_loop": None
                if main is None
                else {
                    "instructions": main.total,
                    "mma": main.mma,
                    "products": main.products,
                    "integer": main.integer,
                    "ldsm": main.ldsm,
                    "lds": dict(main.lds),
                    "ldg": dict(main.ldg),
                    "ldgsts": dict(main.ldgsts),
                },
            }
        )
    names = [
        "kernel",
        "sm",
        "registers",
        "spills",
        "shared memory B",
        "blocks x threads an SM, occupancy (limit)",
        "mma in main loop",
        "16-byte loads",
        "mma",
        "integer an mma",
        "LDSM / LDS.128 / narrower",
        "LDGSTS.128 / LDG",
    ]
    report.section("Kernels", _table(names, rows))
    report.data["kernels"] = data


def _predict(counted):
    result = {}
    for name in PREDICTED_GPUS:
        bounds = devices.bounds_ms(devices.GPUS[name], counted)
        bound = max(bounds, key=bounds.get)
        result[name] = {"ms": bounds[bound], "bound": bound, "bounds_ms": bounds}
    return result


def add_layers(report, layers):
    """A row for each (layer, direction, counters scaled to the whole layer)."""
    rows, data = [], []
    totals = {name: 0.0 for name in PREDICTED_GPUS}
    for layer, direction, counted in layers:
        where = f"{layer.name} {direction}"
        predicted = _predict(counted)
        row = [
            f"{layer.name} {layer.in_channels}->{layer.out_channels}",
            direction,
            f"{layer.flops / 1e9:.1f}",
            f"{counted.tensor_flops / 1e9:.1f}",
            f"{layer.least_bytes / 1e6:.0f}",
            f"{counted.dram_bytes / 1e6:.0f}",
            f"{counted.l2_bytes / 1e6:.0f}",
            _figure(counted.main_load_efficiency),
            _figure(counted.main_bank_conflict_factor, "{:.3f}"),
            _figure(counted.bank_conflict_factor, "{:.3f}"),
        ]
        entry = {
            "layer": layer.name,
            "direction": direction,
            "flops": layer.flops,
            "least_bytes": layer.least_bytes,
            "counted": vars(counted),
            "predicted": predicted,
        }
        if counted.main_bank_conflict_factor is not None:
            report.judge(
                where,
                f"bank-conflict factor of the main loop at most {MOST_CONFLICTS}",
                counted.main_bank_conflict_factor <= MOST_CONFLICTS,
                f"{counted.main_bank_conflict_factor:.3f}",
            )
        if counted.main_load_efficiency is not None:
            report.judge(
                where,
                f"sector efficiency of main loads at least {LEAST_EFFICIENCY}",
                counted.main_load_efficiency >= LEAST_EFFICIENCY,
                f"{counted.main_load_efficiency:.3f}",
            )
        for name in PREDICTED_GPUS:
            ms, reference = predicted[name]["ms"], layer.reference_ms(devices.GPUS[name])
            predicted[name]["reference_ms"] = reference
            totals[name] += ms
            row.append(f"{ms:.3f} {predicted[name]['bound']}, {ms / reference:.2f}x")
            if name in JUDGED_GPUS and layer.kernel == 3:
                report.judge(
                    where,
                    f"predicted time on {name} within {MOST_RATIO}x of the bound",
                    ms <= MOST_RATIO * reference,
                    f"{ms / reference:.2f}x, {predicted[name]['bound']}",
                )
        rows.append(row)
        data.append(entry)
    names = ["layer", "direction", "GFLOP", "counted", "least MB", "DRAM MB", "L2 MB", "main load efficiency"]
    names += ["conflicts, main", "conflicts, all"] + [f"{name} ms, bound, of least" for name in PREDICTED_GPUS]
    lines = _table(names, rows)
    lines += ["", "Sum of predicted times: " + ", ".join(f"{n} {ms:.2f} ms" for n, ms in totals.items())]
    report.section("Layers", lines)
    report.data["layers"] = data


def add_step(report, kernels, scale, layers):
    """Kernels of a whole step by bytes, and their sum.

    `layers`: those of the network, to tell what its convolutions with kernel 3 must move from the rest.
    """
    rows, sum_bytes = [], 0.0
    totals = {name: 0.0 for name in PREDICTED_GPUS}
    ordered = sorted(kernels, key=lambda k: -k.counters.dram_bytes)
    data = []
    for kernel in ordered:
        counted = kernel.counters.scaled(scale)
        predicted = _predict(counted)
        sum_bytes += counted.dram_bytes
        name = short_name(kernel.name)
        rows.append(
            [
                f"`{name}`",
                kernel.launches,
                f"{counted.dram_bytes / 1e6:.1f}",
                f"{counted.l2_bytes / 1e6:.1f}",
                f"{counted.tensor_flops / 1e9:.1f}",
                _figure(counted.load_efficiency),
                _figure(counted.bank_conflict_factor, "{:.3f}"),
            ]
            + [f"{predicted[g]['ms']:.3f} {predicted[g]['bound']}" for g in PREDICTED_GPUS]
        )
        for gpu in PREDICTED_GPUS:
            totals[gpu] += predicted[gpu]["ms"]
        data.append({"kernel": name, "launches": kernel.launches, "counted": vars(counted)})
    names = ["kernel", "launches", "DRAM MB", "L2 MB", "tensor GFLOP", "load efficiency", "conflicts"]
    names += [f"{name} ms, bound" for name in PREDICTED_GPUS]
    lines = _table(names, rows)
    convolutions = sum(len(layer.directions) * layer.least_bytes for layer in layers if layer.kernel == 3)
    beside = sum_bytes - convolutions
    lines += ["", f"Bytes of the step: {sum_bytes / 1e9:.2f} GB (counters times {scale:g})."]
    lines += [
        f"Convolutions with kernel 3 that move each operand of each pass once: {convolutions / 1e9:.2f} GB. "
        f"Beside these: {beside / 1e9:.2f} GB."
    ]
    lines += ["Sum of predicted times: " + ", ".join(f"{n} {ms:.2f} ms" for n, ms in totals.items())]
    report.judge(
        "step", f"at most {MOST_STEP_BYTES / 1e9:.0f} GB", sum_bytes <= MOST_STEP_BYTES, f"{sum_bytes / 1e9:.2f} GB"
    )
    report.judge(
        "step",
        f"at most {MOST_STEP_BYTES / 1e9:.0f} GB beside the convolutions' own",
        beside <= MOST_STEP_BYTES,
        f"{beside / 1e9:.2f} GB",
    )
    report.section("Whole step", lines)
    report.data["step"] = {"bytes": sum_bytes, "beside_convolutions": beside, "scale": scale, "kernels": data}
