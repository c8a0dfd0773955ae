import tempfile
import unittest
from pathlib import Path

import tour


class Commands(unittest.TestCase):
    def test_lines_of_the_section_alone(self):
        page = "## Run it\ntext\n    a --b \\\n      --c    # why\n\n    # only a comment\n    d && E=1 f 'g h'\n\n## Next\n    no\n"
        lines = tour.code_lines(page, "Run it")
        self.assertEqual(lines, ["a --b  --c", "d && E=1 f 'g h'"])
        self.assertEqual(tour.split_commands(lines[1]), [["d"], ["f", "g h"]])
        self.assertEqual(tour.code_lines("## Run it\n```\nx\n```\n", "Run it"), ["x"])
        self.assertEqual(tour.code_lines("# Page\ntext\n    a\n## Other\n    b\n"), ["a"])


class Checks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        for name in ("build/tests", "build/bench", "tests/exercises/op", "kernels/op"):
            (self.root / name).mkdir(parents=True)
        (self.root / "CMakePresets.json").write_text('{"name": "cpu"}')
        self.program("build/tests/test_kernels", "echo 'Suite/OpTest.'; echo '  Works/cpu  # GetParam() = 1'")
        self.program("build/bench/voxgrad-bench", '[ "$1" = conv3d ] && echo "Usage: voxgrad-bench conv3d --filter TEXT"')
        (self.root / "tests/exercises/op/sum_test.cpp").write_text("")
        (self.root / "source.cpp").write_text("int a;\nint  b;\nint c;\n")
        self.checker = tour.Checker(self.root, self.root / "build")

    def program(self, name, script):
        path = self.root / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def problem(self, line):
        return self.checker.check(tour.split_commands(line)[0])

    def test_commands_that_are_there(self):
        for line in (
            "build/cpu/tests/test_kernels --gtest_filter='*OpTest*'",
            "build/cpu/tests/test_kernels --gtest_filter='Suite/OpTest.Works/cpu:*OpTest*-*Slow*'",
            "build/cpu/bench/voxgrad-bench conv3d --filter 16",
            "build/cuda/tests/test_kernels --gtest_filter='*cuda*'",
            "VOXGRAD_ISA=avx2 build/cpu/bench/voxgrad-bench conv3d",
            "cmake --preset cpu",
            "./grade op",
            "./grade op/sum",
        ):
            self.assertIsNone(self.problem(line), line)

    def test_commands_that_are_not(self):
        for line in (
            "build/cpu/tests/test_kernels --gtest_filter='*OpTest*:*Other*'",
            "build/cpu/tests/test_layers",
            "build/cpu/bench/voxgrad-bench other",
            "build/cpu/bench/voxgrad-bench conv3d --fil 16",
            "cmake --preset other",
            "./grade other",
            "./grade op/other",
            "bench/other --help",
        ):
            self.assertIsNotNone(self.problem(line), line)

    def test_excerpts(self):
        self.assertEqual(tour.missing_excerpts("```cpp source.cpp\nint a;\n  int b;\n```\n", self.root), [])
        self.assertEqual(len(tour.missing_excerpts("```cpp source.cpp\nint a;\nint c;\n```\n", self.root)), 1)
        self.assertEqual(len(tour.missing_excerpts("```cpp other.cpp\nint a;\n```\n", self.root)), 1)

    def test_page(self):
        page = self.root / "kernels/op/README.md"
        sections = "".join(f"## {heading}\n" for heading in tour.HEADINGS)
        page.write_text(sections + "[sum](../../tests/exercises/op/sum.h)")
        problems = tour.page_problems(page, self.root)
        self.assertEqual(len(problems), 1)  # the exercise's own file is missing
        self.assertIn("leads nowhere", problems[0])
        (self.root / "tests/exercises/op/sum.h").write_text("")
        self.assertEqual(tour.page_problems(page, self.root), [])
        page.write_text(sections.replace("## Ladder\n", "") + "./grade other")
        self.assertEqual(len(tour.page_problems(page, self.root)), 3)


if __name__ == "__main__":
    unittest.main()
