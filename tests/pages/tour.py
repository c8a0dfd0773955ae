#!/usr/bin/env python3
"""The pages, followed as a student would: runs or checks the commands that they print.

tests/pages/tour.py            runs the commands at the pages' beginning and under "Run it", in the pages' order, as printed
tests/pages/tour.py --list     prints them
tests/pages/tour.py --check    runs nothing that takes long, and checks instead: each command names files, tests, options
                               and exercises that exist; excerpts of code are in their sources; links lead somewhere; pages
                               of kernels have their headings; exercises are on their page. --build DIR stands for build/cpu
                               (and build/cuda, if it was built with CUDA).

Exit status 1 if a command or check failed.
"""

import argparse
import fnmatch
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADINGS = ["Formula", "Index map", "Memory picture", "Expected roofline", "Ladder", "Run it", "Exercises"]


def pages(root):
    """Pages in reading order: the tour, the kernels, the engine, the benches."""
    first = [root / "kernels/README.md"]
    kernels = sorted(root.glob("kernels/*/README.md"))
    others = [root / "engine/README.md", root / "tests/exercises/README.md", root / "bench/without-a-gpu.md"]
    others += sorted(root.glob("bench/**/README.md"))
    return [page for page in [*first, *kernels, *others] if page.exists()]


def code_lines(text, heading=None):
    """Lines of indented or fenced code under the heading (None: before the first), continuation lines joined."""
    start = rf"^##+ {re.escape(heading)}\n" if heading else r"\A# [^\n]*\n"
    section = re.search(start + r"(.*?)(?=^##? |\Z)", text, re.M | re.S)
    lines, fenced = [], False
    for line in section.group(1).splitlines() if section else []:
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or (line.startswith("    ") and line.strip()):
            if lines and lines[-1].endswith("\\"):
                lines[-1] = lines[-1][:-1] + " " + line.strip()
            else:
                lines.append(line.strip())
    return [line for line in (re.sub(r"\s+#.*$", "", line) for line in lines) if line and not line.startswith("#")]


def commands_of(page):
    """The commands of a page: those under "Run it", and those before its first heading."""
    text = page.read_text()
    return code_lines(text) + code_lines(text, "Run it")


def split_commands(line):
    """The commands of a line that are joined by &&, as words, without leading VARIABLE=value."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&")
    lexer.whitespace_split = True
    commands = [[]]
    for word in lexer:
        if word == "&&":
            commands.append([])
        else:
            commands[-1].append(word)
    for words in commands:
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
    return commands


class Checker:
    """Checks commands against one build."""

    def __init__(self, root, build):
        self.root, self.build = root, build
        self.outputs = {}
        cache = build / "CMakeCache.txt"
        options = cache.read_text() if cache.exists() else ""
        self.cuda = "VOXGRAD_CUDA:BOOL=ON" in options
        self.bench = "VOXGRAD_BENCH:BOOL=OFF" not in options

    def output(self, *words):
        if words not in self.outputs:
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.root)
            self.outputs[words] = (done.returncode, done.stdout)
        return self.outputs[words]

    def in_build(self, path):
        """The file of this build that a path of the page means; None if this build has no such kind."""
        match = re.match(r"build/(cpu|cuda)/(.*)", path)
        if not match or (match[1] == "cuda" and not self.cuda) or (match[2].startswith("bench/") and not self.bench):
            return None
        return self.build / match[2]

    def check(self, words):
        """What is wrong with a command, or None."""
        name = words[0]
        if name == "./grade":
            return self.exercises(words[1:])
        if name in ("cmake", "ctest"):
            return self.cmake(words)
        if name.startswith("build/"):
            program = self.in_build(name)
            if program is None:
                return None
            if not program.exists():
                return f"there is no {name}"
            return self.program(program, words[1:])
        if name == "python3" and words[1:2] == ["-m"]:
            return None
        path = words[1] if name in ("python3", "bash") and len(words) > 1 else name
        path = path.removeprefix("./")
        if (self.root / path).is_file():
            return None
        return f"'{name}' is no program that the tour knows, and no file"

    def program(self, program, arguments):
        for argument in arguments:
            if argument.startswith("--gtest_filter="):
                return self.filter(program, argument.split("=", 1)[1])
        if program.name not in ("voxgrad", "voxgrad-bench") or not arguments:
            return None
        code, text = self.output(str(program), arguments[0], "--help")
        if code != 0 or f"{program.name} {arguments[0]}" not in text:
            return f"{program.name} has no subcommand '{arguments[0]}'"
        for argument in arguments[1:]:
            option = argument.split("=")[0]
            if argument.startswith("--") and not re.search(rf"{re.escape(option)}(?![\w-])", text):
                return f"{program.name} {arguments[0]} has no option {option}"
        return None

    def tests_of(self, program):
        code, text = self.output(str(program), "--gtest_list_tests")
        tests, suite = [], ""
        for line in text.splitlines():
            name = line.split("#")[0].rstrip()
            if name.startswith("  "):
                tests.append(suite + name.strip())
            else:
                suite = name.strip()
        return tests

    def filter(self, program, text):
        for pattern in text.split("-")[0].split(":"):
            if "cuda" in pattern and not self.cuda:
                continue
            if not fnmatch.filter(self.tests_of(program), pattern.replace("[", "[[]")):
                return f"no test of {program.name} matches '{pattern}'"
        return None

    def cmake(self, words):
        if words[0] == "ctest":
            options = dict(zip(words[1:], words[2:]))
            folder = self.in_build(options.get("--test-dir", "").rstrip("/") + "/")
            if folder is None:
                return None
            selection = [w for option in ("-R", "-L") if option in options for w in (option, options[option])]
            text = self.output("ctest", "--test-dir", str(folder), "-N", *selection)[1]
            return None if re.search(r"Total Tests: [1-9]", text) else f"no test fits {' '.join(selection)}"
        presets = (self.root / "CMakePresets.json").read_text()
        for option, value in zip(words, words[1:]):
            if option == "--preset" and f'"name": "{value}"' not in presets:
                return f"there is no preset {value}"
            if option == "--target":
                targets = self.output("cmake", "--build", str(self.build), "--target", "help")[1]
                if not re.search(rf"(^|/|\s){re.escape(value)}(:|\s)", targets, re.M):
                    return f"there is no target {value}"
        return None

    def exercises(self, arguments):
        for argument in arguments:
            folder = self.root / "tests/exercises"
            found = (folder / argument).is_dir() if "/" not in argument else list(folder.glob(f"{argument}_test.c*"))
            if not found:
                return f"there is no exercise {argument}"
        return None


def squeezed(text):
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def missing_excerpts(text, root):
    """Blocks "```cpp FILE" whose lines are not in FILE, one after the other. Spaces don't count."""
    problems = []
    for path, excerpt in re.findall(r"^```cpp (\S+)\n(.*?)^```", text, re.M | re.S):
        source = root / path
        lines, wanted = squeezed(source.read_text()) if source.exists() else [], squeezed(excerpt)
        if not any(lines[i : i + len(wanted)] == wanted for i in range(len(lines) - len(wanted) + 1)):
            problems.append(f"the excerpt of {path} that begins with '{wanted[0]}' is not in it")
    return problems


def missing_links(page, text):
    prose = re.sub(r"^```.*?^```|^    .*$", "", text, flags=re.M | re.S)
    problems = []
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose):
        if "://" not in target and not (page.parent / target).exists():
            problems.append(f"the link to {target} leads nowhere")
    return problems


def page_problems(page, root):
    """What is wrong with a page, its commands apart."""
    text = page.read_text()
    problems = missing_excerpts(text, root) + missing_links(page, text)
    for argument in re.findall(r"\./grade ([a-z]\w*(?:/\w+)?)", text):
        problem = Checker(root, root / "build/none").exercises([argument])
        problems += [problem] if problem else []
    if page.parent.parent == root / "kernels":
        headings = [h for h in re.findall(r"^## (.*)$", text, re.M) if h in HEADINGS]
        if headings != HEADINGS:
            problems.append(f"headings {headings}, expected {HEADINGS}")
    of_op = page.parent.parent == root / "kernels" or page.parent == root / "engine"
    for exercise in sorted((root / "tests/exercises" / page.parent.name).glob("*_test.c*")) if of_op else []:
        name = exercise.name.split("_test.")[0]
        if not re.search(rf"tests/exercises/{page.parent.name}/{name}\.", text):
            problems.append(f"the exercise {page.parent.name}/{name} is not on its page")
    return problems


def check(root, build):
    checker = Checker(root, build)
    problems, commands = [], 0
    for page in pages(root):
        where = page.relative_to(root)
        problems += [f"{where}: {problem}" for problem in page_problems(page, root)]
        for line in commands_of(page):
            for words in split_commands(line):
                commands += 1
                problem = checker.check(words) if words else None
                if problem:
                    problems.append(f"{where}: {line}\n    {problem}")
    print(f"{commands} commands on {len(pages(root))} pages")
    return problems


def run(root, lines):
    problems = []
    gpu = (root / "build/cuda").exists() and subprocess.run("nvidia-smi -L >&2", shell=True).returncode == 0
    for page, line in lines:
        print(f"\n$ {line}        ({page.relative_to(root)})", flush=True)
        if line.startswith(("build/cuda/", "bench/gpu-report")) and not gpu:
            print("left out: no GPU answers, or there is no build/cuda")
            continue
        done = subprocess.run(["bash", "-c", line], cwd=root).returncode
        # An exercise that is not solved is graded so: that is what a student meets.
        if done != 0 and not (done == 1 and line.startswith("./grade ")):
            problems.append(f"{page.relative_to(root)}: {line}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the commands")
    parser.add_argument("--check", action="store_true", help="check instead of running")
    parser.add_argument("--build", type=Path, default=ROOT / "build/cpu", help="with --check: the build folder")
    parser.add_argument("--page", default="", help="pages whose path contains this alone")
    arguments = parser.parse_args()
    lines, seen = [], set()
    for page in pages(ROOT):
        for line in commands_of(page):
            if arguments.page in str(page.relative_to(ROOT)) and line not in seen:
                lines.append((page, line))
                seen.add(line)
    if arguments.list:
        for page, line in lines:
            print(f"{str(page.relative_to(ROOT)):40} {line}")
        return 0
    problems = check(ROOT, arguments.build.resolve()) if arguments.check else run(ROOT, lines)
    for problem in problems:
        print(problem)
    print(f"{len(problems)} failed" if problems else "all right")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
