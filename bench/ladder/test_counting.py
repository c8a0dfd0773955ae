import contextlib
import io
import json
import pathlib
import stat
import tempfile
import unittest

from ladder import counting
from static_report import counters

KERNEL = {
    "launches": 1,
    "grid": [1, 1, 1],
    "block": [128, 1, 1],
    "shared_bytes": 0,
    "instructions": {"int": 3200, "mma": 6400, "memory": 3200},
    "flop_tensor": 4096 * 200,
    "unique_bytes": 1000,
    "global_load": {"requests": 10, "bytes": 1280, "sectors": 80},
    "global_store": {"requests": 10, "bytes": 640, "sectors": 20},
    "shared_load": {"requests": 10, "wavefronts": 30, "ideal": 20},
    "shared_store": {"requests": 10, "wavefronts": 10, "ideal": 10},
}
PACKING = dict(KERNEL, kernel="pack_taps_kernel(float*)", unique_bytes=10**9)
RUNG = dict(KERNEL, kernel="halo_tile_kernel(float*)")


class CountingTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "README.md").write_text(f"before\n{counting.BEGIN}\n{counting.END}\nafter\n")
        self.profile = self.folder / "profile.json"
        self.profile.write_text(json.dumps({"kernels": [PACKING, RUNG]}))
        self.bench = self.folder / "bench"
        self.bench.write_text("#!/bin/sh\nprintf 'cuda1\\tnaive\\tfp32\\ncuda2\\thalo\\tbf16\\n'\n")
        self.bench.chmod(self.bench.stat().st_mode | stat.S_IXUSR)

    def counts(self, *arguments, run=True):
        arguments = ["--folder", str(self.folder), *arguments]
        if run:
            arguments += ["--bench", str(self.bench), "--run", f"cp {self.profile} {{profile}} && {{command}}"]
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            return counting.main(arguments), out.getvalue()

    def test_row_holds_the_ratios_of_the_rungs_own_kernels(self):
        row = counting.row_of("cuda1", "naive", "fp32", counters.read_profile(self.profile))
        flop = counting.flop()
        expected = ["cuda1", "naive", "fp32", "8.0", "0.50", f"{flop / 1000:.0f}", f"{flop / 3200:.0f}"]
        self.assertEqual(row, expected + [f"{flop / 40 / 128:.0f}", "1.33", f"{flop / 400:.0f}", "50%"])

    def test_writes_the_page_and_the_file_that_a_check_then_accepts(self):
        self.assertEqual(self.counts()[0], 0)
        page = (self.folder / "README.md").read_text()
        self.assertTrue(page.startswith("before\n") and page.endswith("after\n"))
        self.assertIn("| cuda2 | halo | bf16 | 8.0 |", page)
        self.assertEqual(json.loads((self.folder / "counts.json").read_text())["table"][0], counting.HEAD)
        self.assertEqual(self.counts("--check"), (0, self.counts("--check")[1]))
        self.assertEqual(self.counts("--check", run=False)[0], 0)

    def test_check_finds_a_changed_page(self):
        self.counts()
        page = self.folder / "README.md"
        page.write_text(page.read_text().replace("| 8.0 |", "| 7.0 |", 1))
        code, text = self.counts("--check", run=False)
        self.assertEqual(code, 1)
        self.assertIn("its table is not the one counted", text)

    def test_check_finds_a_changed_kernel(self):
        self.counts()
        self.profile.write_text(json.dumps({"kernels": [dict(RUNG, unique_bytes=2000)]}))
        code, text = self.counts("--check")
        self.assertEqual(code, 1)
        self.assertIn("cuda1, FLOP a byte of DRAM", text)

    def test_a_failing_profiler_is_an_error(self):
        self.profile.unlink()
        code, text = self.counts()
        self.assertEqual(code, 2)
        self.assertIn("counts: error:", text)

    def test_a_profile_without_the_rung_is_an_error(self):
        self.profile.write_text(json.dumps({"kernels": [PACKING]}))
        self.assertEqual(self.counts()[0], 2)

    def test_bench_without_run_is_an_error(self):
        self.assertEqual(self.counts("--bench", str(self.bench), run=False)[0], 2)

    def test_the_page_names_every_rungs_file(self):
        page = (counting.HERE / "README.md").read_text(encoding="utf-8")
        files = [f.name for f in counting.HERE.iterdir() if f.name.startswith(("cpu", "cuda"))]
        self.assertGreater(len(files), 12)
        self.assertEqual([f for f in files if f"`{f}`" not in page], [])

    def test_the_page_of_this_checkout_holds_its_counts(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(counting.main(["--check"]), 0, out.getvalue())


if __name__ == "__main__":
    unittest.main()
