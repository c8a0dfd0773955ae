"""The command line of bench/static-report."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

from static_report import counters, network, report, sass

EXAMPLES = """examples:
  # registers, spills and machine code of two files, compiled here for three architectures
  bench/static-report --sources kernels/conv3d/conv3d_halo*_cuda.cu --arch 80,90,120

  # of a whole build (cmake --preset cuda -DCMAKE_CUDA_ARCHITECTURES="80;90;100;120")
  bench/static-report --build build/cuda --output report.md

  # counters of every layer, on a GPU, then the report
  bench/static-report profile --bench build/cuda/bench/voxgrad-bench --out profiles \\
      --run 'ncu --csv --page raw --set full --log-file {profile} {command}'
  bench/static-report --layers profiles --output report.md

  # bytes of a training step from its profile, taken with an eighth of the batch
  bench/static-report --step step.csv --step-scale 8

exit status: 0 if every rule passes, 1 if one fails, 2 for an error.
"""
HERE = pathlib.Path(__file__).resolve().parent
DEFAULT_SHAPES = HERE.parent / "shapes" / "attention_unet.txt"


class UsageError(Exception):
    pass


def run_tool(tool, *arguments):
    found = shutil.which(tool)
    if found is None:
        raise UsageError(
            f"{tool} is not on PATH (CUDA toolkit, or pip's nvidia-cuda-{tool}); "
            "or give saved output with --sass, --usage and --ptxas"
        )
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(f"{tool} {' '.join(map(str, arguments))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout + done.stderr


def read_text(path):
    try:
        return pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def demangle(names):
    """{name: demangled}, as it is without c++filt."""
    filter_ = shutil.which("cu++filt") or shutil.which("c++filt")
    names = sorted(set(names))
    if filter_ is None or not names:
        return {name: name for name in names}
    done = subprocess.run([filter_], input="\n".join(names), capture_output=True, text=True, check=True)
    return dict(zip(names, done.stdout.splitlines()))


def join(kernels, usage, spills):
    for kernel in kernels:
        key = kernel.name, kernel.architecture
        if key in usage:
            kernel.registers, kernel.stack, kernel.static_shared = usage[key]
        if key in spills:
            kernel.spill_bytes = spills[key]
        elif kernel.stack == 0:
            kernel.spill_bytes = 0  # spills would lie on the stack
    return kernels


def kernels_of_object(path, spills=None):
    code = run_tool("cuobjdump", "-sass", path)
    usage = sass.parse_resource_usage(run_tool("cuobjdump", "--dump-resource-usage", path))
    return join(sass.parse_sass(code), usage, spills or {})


def compile_source(path, architectures, flags):
    """Kernels of a .cu compiled by nvcc, with what ptxas says about spills.

    Warpgroup instructions exist in code for sm_90a alone, which stands for 90 there.
    """
    if str(path).endswith("_warpgroup_cuda.cu"):
        architectures = ["90a" for a in architectures if a == 90]
        if not architectures:
            return []
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "kernels.fatbin"
        codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
        log = run_tool("nvcc", *flags, *codes, "-Xptxas", "-v", "-fatbin", path, "-o", target)
        return kernels_of_object(target, sass.parse_ptxas(log))


NVCC_FLAGS = f"-std=c++20 -O2 -I{HERE.parent.parent} -DVOXGRAD_WITH_CUDA=1 --expt-relaxed-constexpr"


def gather_kernels(options):
    architectures = [int(a) for a in options.arch.split(",")]
    kernels = []
    for path in options.sources:
        kernels += compile_source(path, architectures, shlex.split(options.nvcc_flags))
    objects = [pathlib.Path(o) for o in options.objects]
    if options.build:
        found = sorted(pathlib.Path(options.build).rglob("*.cu.o"))
        if not found:
            raise UsageError(f"--build {options.build}: no CUDA objects (*.cu.o) there; is it a build with CUDA?")
        objects += found
    usage, spills = {}, {}
    for path in options.usage:
        usage.update(sass.parse_resource_usage(read_text(path)))
    for path in options.ptxas:
        spills.update(sass.parse_ptxas(read_text(path)))
    for path in objects:
        kernels += kernels_of_object(path, spills)
    for path in options.sass:
        kernels += join(sass.parse_sass(read_text(path)), usage, spills)
    return [k for k in kernels if k.architecture in architectures]


def layer_profiles(options):
    """(layer, direction, counters of the whole layer) of the profiles in --layers, and their kernels."""
    folder = pathlib.Path(options.layers)
    if not folder.is_dir():
        raise UsageError(f"--layers {folder}: not a folder")
    layers, kernels = [], []
    for layer in network.read_shapes(options.shapes):
        for direction in layer.directions:
            runs = {}
            for path in folder.glob(f"{layer.name}.{direction}.*"):
                found = re.search(r"\.(\d+)\.(?:json|csv)$", path.name)
                if found:
                    runs[int(found[1])] = counters.read_profile(path)
            if runs:
                few, more = runs[min(runs)], runs[max(runs)]
                kernels += more
                layers.append((layer, direction, counters.total_of_parts(few, more)))
    if not layers:
        raise UsageError(f"--layers {folder}: no profile of a layer of {options.shapes} (see static-report profile)")
    return layers, kernels


def read_turns(options):
    turns = []
    for item in options.turns:
        found = re.fullmatch(r"(.+)=(\d+)", item)
        if not found:
            raise UsageError(f"--turns {item}: expected REGEX=TIMES")
        turns.append((re.compile(found[1]), int(found[2])))
    return turns


def output_paths(options):
    """The report's two files, which must not be what it reads."""
    target = pathlib.Path(options.output)
    paths = target, target.with_suffix(".json")
    inputs = {pathlib.Path(p).resolve() for p in (options.step, *options.sass, *options.usage, *options.ptxas) if p}
    for path in paths:
        if path.resolve() in inputs:
            raise UsageError(f"--output {target}: would overwrite {path}, which is read; give another name")
    return paths


def report_command(options):
    result = report.Report()
    paths = output_paths(options) if options.output else None
    layers, profiled = layer_profiles(options) if options.layers else ([], [])
    step = counters.read_profile(options.step) if options.step else []
    launches = {sass.short_name(k.name): (k.threads, k.shared_bytes) for k in profiled + step}
    for item in options.launch:
        found = re.fullmatch(r"(.+)=(\d+),(\d+)", item)
        if not found:
            raise UsageError(f"--launch {item}: expected KERNEL=THREADS,SHARED_BYTES")
        launches[found[1]] = (int(found[2]), int(found[3]))
    kernels = gather_kernels(options)
    if not kernels and not layers and not step:
        raise UsageError("nothing to report: give --sources, --build, --objects or --sass, --layers or --step")
    names = demangle(k.name for k in kernels)
    wanted = re.compile(options.kernels)
    step = [k for k in step if wanted.search(sass.short_name(k.name))]
    kernels = [k for k in kernels if wanted.search(sass.short_name(names[k.name]))]
    kernels.sort(key=lambda k: (sass.short_name(names[k.name]), k.architecture))
    if kernels:
        report.add_kernels(result, kernels, names, launches, re.compile(options.main_loops), read_turns(options))
    if layers:
        report.add_layers(result, layers)
    if step:
        report.add_step(result, step, options.step_scale, network.read_shapes(options.shapes))
    text = result.markdown()
    if paths:
        paths[0].write_text(text, encoding="utf-8")
        data = {"tables": result.data, "rules": result.rules}
        paths[1].write_text(json.dumps(data, indent=1), encoding="utf-8")
    else:
        print(text)
    for failure in result.failures:
        print(f"FAIL {failure['where']}: {failure['rule']} (found {failure['found']})", file=sys.stderr)
    print(f"{len(result.rules) - len(result.failures)} of {len(result.rules)} rules pass", file=sys.stderr)
    return 1 if result.failures else 0


def profile_command(options):
    """Runs the benchmark for each layer and direction under a profiler."""
    folder = pathlib.Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    suffix = ".csv" if "ncu" in options.run else ".json"
    runs = [
        (layer, direction, blocks)
        for layer in network.read_shapes(options.shapes)
        if re.search(options.layer, layer.name)
        for direction in layer.directions
        if options.direction in (direction, "all")
        for blocks in options.blocks.split(",")
    ]

    def run(item):
        layer, direction, blocks = item
        target = folder / f"{layer.name}.{direction}.{blocks}{suffix}"
        if target.exists() and not options.again:
            return True
        command = [options.bench, "conv3d", "--device", "cuda", "--dtype", "bf16", "--shapes", options.shapes]
        command += ["--layer", layer.name, "--direction", direction, "--batch", 0, "--once"]
        partial = target.with_name(target.name + ".part")
        line = options.run.replace("{profile}", shlex.quote(str(partial))).replace("{blocks}", blocks)
        line = line.replace("{command}", " ".join(shlex.quote(str(c)) for c in command))
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not partial.exists():
            print(f"static-report: {target.name}: exit status {done.returncode}\n{done.stderr}", file=sys.stderr)
            return False
        os.replace(partial, target)
        print(target.name, file=sys.stderr, flush=True)
        return True

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        return 0 if all(list(pool.map(run, runs))) else 1


def parser():
    top = argparse.ArgumentParser(
        prog="static-report",
        description="Evidence about CUDA kernels that needs no GPU: registers, machine code, counted traffic and "
        "the times that it bounds. `static-report profile --help` tells how to count.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--sources", nargs="+", default=[], metavar="FILE.cu", help="compile these with nvcc")
    top.add_argument("--nvcc-flags", default=NVCC_FLAGS, help="for --sources (default: %(default)s)")
    top.add_argument("--build", metavar="DIR", help="every CUDA object of a build")
    top.add_argument("--objects", nargs="+", default=[], metavar="FILE", help="objects, cubins or fat binaries")
    top.add_argument("--sass", nargs="+", default=[], metavar="FILE", help="saved `cuobjdump -sass`")
    top.add_argument("--usage", nargs="+", default=[], metavar="FILE", help="saved `cuobjdump --dump-resource-usage`")
    top.add_argument("--ptxas", nargs="+", default=[], metavar="FILE", help="saved log of `nvcc -Xptxas -v`")
    top.add_argument("--arch", default="80,90,100,120", help="architectures (default: %(default)s)")
    top.add_argument("--kernels", default="", metavar="REGEX", help="only kernels whose name matches")
    top.add_argument(
        "--main-loops",
        default="",
        metavar="REGEX",
        help="kernels whose main loops the rules judge (default: all; 'halo|strided|gemm' are those of convolutions, "
        "others may use tensor cores and yet be bound by memory)",
    )
    top.add_argument(
        "--launch",
        nargs="+",
        default=[],
        metavar="KERNEL=THREADS,BYTES",
        help="threads and shared memory of a block, where no profile tells them",
    )
    top.add_argument(
        "--turns",
        nargs="+",
        default=[],
        metavar="REGEX=TIMES",
        help="how often (at least) the loops over products of such kernels run for each turn of a loop around them "
        "that copies (default: once, as if they were not rolled)",
    )
    top.add_argument("--layers", metavar="DIR", help="profiles that `static-report profile` made")
    top.add_argument("--shapes", default=str(DEFAULT_SHAPES), metavar="FILE", help="(default: %(default)s)")
    top.add_argument("--step", metavar="FILE", help="profile of a whole training step")
    top.add_argument("--step-scale", type=float, default=1, metavar="FACTOR", help="times its counters")
    top.add_argument("--output", metavar="FILE.md", help="Markdown; JSON beside it (default: standard output)")
    return top


def profile_parser():
    sub = argparse.ArgumentParser(
        prog="static-report profile",
        description="Runs each layer and direction once under a profiler; existing profiles are kept.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument("--bench", required=True, metavar="FILE", help="voxgrad-bench of a build with CUDA")
    sub.add_argument("--out", required=True, metavar="DIR", help="for NAME.DIRECTION.json or .csv")
    sub.add_argument(
        "--run",
        required=True,
        metavar="TEMPLATE",
        help="shell command that runs {command} and writes its counters to {profile}; {blocks} is that of "
        "--blocks",
    )
    sub.add_argument("--shapes", default=str(DEFAULT_SHAPES), metavar="FILE", help="(default: %(default)s)")
    sub.add_argument("--layer", default="", metavar="REGEX", help="only layers whose name matches")
    sub.add_argument("--direction", default="all", choices=("all",) + network.DIRECTIONS)
    sub.add_argument(
        "--blocks",
        default="0",
        help="how many blocks of each launch a slow profiler should count, two numbers as in 16,32; 0: all (default)",
    )
    sub.add_argument("--jobs", type=int, default=1, help="runs side by side (default: %(default)s)")
    sub.add_argument("--again", action="store_true", help="also where the profile exists")
    return sub


def main(arguments):
    try:
        if arguments[:1] == ["profile"]:
            return profile_command(profile_parser().parse_args(arguments[1:]))
        return report_command(parser().parse_args(arguments))
    except (UsageError, counters.ProfileError, network.ShapeError) as error:
        print(f"static-report: error: {error}", file=sys.stderr)
        return 2
