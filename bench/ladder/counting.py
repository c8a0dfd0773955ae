"""Counts each CUDA rung under a profiler, and keeps the page's table and counts.json what they were counted to be.

Profiles are those of bench/static-report (bench/README.md describes the format); kernels that pack weights are left out.
"""

import argparse
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

from static_report import counters

EXAMPLES = """examples:
  # on a GPU: profile every rung, write counts.json and the page's table
  bench/ladder/counts --bench build/cuda/bench/voxgrad-bench \\
      --run 'ncu --csv --page raw --set full --log-file {profile} {command}'

  # the same, but write nothing: is what they hold what is counted now?
  bench/ladder/counts --check --bench ... --run ...

  # does the page print what counts.json holds?
  bench/ladder/counts --check

exit status: 0, 1 if --check finds a difference, 2 for an error.
"""
HERE = pathlib.Path(__file__).resolve().parent / "conv3d"
BEGIN, END = "<!-- counts: written by bench/ladder/counts -->", "<!-- end of counts -->"
# A layer small enough for a slow profiler, with whole tiles of every rung.
LAYER, CHANNELS, EXTENTS = "level0.conv1", 16, (16, 32, 32)

HEAD = [
    "rung",
    "",
    "type",
    "sectors a load",
    "load efficiency",
    "FLOP a byte of DRAM",
    "of L1/L2",
    "of shared",
    "conflicts",
    "FLOP an instruction",
    "mma share",
]


class CountError(Exception):
    pass


def layer_label():
    return f"{CHANNELS}->{CHANNELS}, {'x'.join(map(str, EXTENTS))} voxels"


def flop():
    depth, height, width = EXTENTS
    return 2 * 27 * CHANNELS * CHANNELS * depth * height * width


def number(value, pattern="{:.2f}"):
    return "-" if value is None else pattern.format(value)


def whole(value):
    """Three digits, without those behind the point where there are enough before it."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def row_of(name, title, dtype, kernels):
    """The table's row of a rung from its profile."""
    kernels = [k for k in kernels if "pack_" not in k.name]
    if not kernels:
        raise CountError(f"{name}: the profile has no kernel of this rung")
    c = counters.total(kernels)

    def ratio(a, b):
        return a / b if b else None

    return [
        name,
        title,
        dtype,
        number(ratio(c.load_sectors, c.load_requests), "{:.1f}"),
        number(c.load_efficiency),
        whole(ratio(flop(), c.dram_bytes)),
        whole(ratio(flop(), c.l2_bytes)),
        whole(ratio(flop(), c.shared_wavefronts * 128)),
        number(c.bank_conflict_factor),
        whole(ratio(flop(), c.warp_instructions)),
        number(ratio(100 * c.mma_instructions, c.warp_instructions), "{:.0f}%"),
    ]


def markdown(table):
    lines = ["| " + " | ".join(table[0]) + " |", "|" + "---|" * len(table[0])]
    lines += ["| " + " | ".join(row) + " |" for row in table[1:]]
    return "\n".join(lines)


def with_table(page, table):
    """The page with the table between its two marks."""
    found = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not found.search(page):
        raise CountError(f"the page has no place for the table: {BEGIN} .. {END}")
    return found.sub(lambda _: f"{BEGIN}\n{markdown(table)}\n{END}", page)


def differences(old, new):
    """Lines that tell where two tables differ."""
    if [r[0] for r in old] != [r[0] for r in new]:
        return [f"rungs {[r[0] for r in old]} were counted, not {[r[0] for r in new]}"]
    return [
        f"{a[0]}, {column}: {was} was counted, now {now}"
        for a, b in zip(old, new)
        for column, was, now in zip(new[0], a, b)
        if was != now
    ]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, shell=isinstance(command, str))
    if done.returncode != 0:
        raise CountError(f"{command}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout


def count(options):
    """The table, counted now."""
    listed = run([options.bench, "ladder", "--device", "cuda", "--list"])
    rungs = [line.split("\t") for line in listed.splitlines()]
    if not rungs:
        raise CountError(f"{options.bench}: no rungs on CUDA; is it a build with CUDA?")
    table = [HEAD]
    with tempfile.TemporaryDirectory() as folder:
        for name, title, dtype in rungs:
            profile = pathlib.Path(folder) / name
            command = [options.bench, "ladder", "--device", "cuda", "--once", "--rung", name, "--layer", LAYER]
            command += ["--extents", ",".join(map(str, EXTENTS))]
            line = options.run.replace("{profile}", shlex.quote(str(profile)))
            run(line.replace("{command}", " ".join(shlex.quote(str(c)) for c in command)))
            table.append(row_of(name, title, dtype, counters.read_profile(profile)))
            print(*table[-1], file=sys.stderr, flush=True)
    return table


def parser():
    top = argparse.ArgumentParser(
        prog="counts",
        description="Counts of the ladder's CUDA rungs: what they ask of memory and do an instruction.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--bench", metavar="FILE", help="voxgrad-bench of a build with CUDA: count again")
    top.add_argument(
        "--run", metavar="TEMPLATE", help="shell command that runs {command} and writes its counters to {profile}"
    )
    top.add_argument("--check", action="store_true", help="write nothing, tell what differs")
    top.add_argument("--folder", default=str(HERE), help="of counts.json and README.md (default: %(default)s)")
    return top


def main(arguments):
    options = parser().parse_args(arguments)
    folder = pathlib.Path(options.folder)
    try:
        if bool(options.bench) != bool(options.run):
            raise CountError("--bench and --run belong together")
        page, file = folder / "README.md", folder / "counts.json"
        stored = json.loads(file.read_text(encoding="utf-8"))["table"] if file.exists() else [HEAD]
        table = count(options) if options.bench else stored
        text = page.read_text(encoding="utf-8")
        found = differences(stored, table)
        if with_table(text, table) != text:
            found.append(f"{page}: its table is not the one counted")
        if options.check:
            print("\n".join(found) if found else "the page and counts.json hold what is counted")
            return 1 if found else 0
        page.write_text(with_table(text, table), encoding="utf-8")
        rows = ",\n".join("  " + json.dumps(row) for row in table)
        file.write_text(f'{{"layer": "{layer_label()}", "table": [\n{rows}\n]}}\n', encoding="utf-8")
        return 0
    except (CountError, counters.ProfileError, OSError, json.JSONDecodeError) as error:
        print(f"counts: error: {error}", file=sys.stderr)
        return 2
