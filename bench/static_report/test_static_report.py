"""Tests of the parsers on recorded output: python3 -m unittest discover -s bench -t bench -p 'test_*.py'"""

import contextlib
import io
import json
import pathlib
import tempfile
import unittest

from static_report import cli, counters, devices, network, report, sass

# Of `cuobjdump -sass`, shortened: a loop over copies inside a loop with products.
SASS = """
Fatbin elf code:
================
arch = sm_80

	code for sm_80
		Function : _Z4tilePf
	.headerflags	@"EF_CUDA_SM80 EF_CUDA_VIRTUAL_SM(EF_CUDA_SM80)"
        /*0000*/                   IMAD.MOV.U32 R1, RZ, RZ, c[0x0][0x28] ;   /* 0x00000a00ff017624 */
                                                                             /* 0x000fe400078e00ff */
        /*0010*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;             /* 0x0000000000007b1d */
        /*0020*/              @!PT LDS RZ, [RZ] ;                            /* 0x00000000fffff984 */
        /*0030*/                   LDGSTS.E.BYPASS.128 [R39], [R24.64], P2 ; /* 0x0000000018277fae */
        /*0040*/                   IADD3 R39, R39, 0xa00, RZ ;               /* 0x00000a0027277810 */
        /*0050*/               @P1 BRA 0x20 ;                                /* 0xffffffd000001947 */
        /*0060*/                   LDSM.16.M88.4 R124, [R180] ;              /* 0x00000000b47c783b */
        /*0070*/                   LDS.128 R56, [R181] ;                     /* 0x00000000b5387984 */
        /*0080*/                   HMMA.16816.F32.BF16 R88, R124, R56, R88 ; /* 0x000000387c58723c */
        /*0090*/                   HMMA.16816.F32.BF16 R92, R124, R58, R92 ; /* 0x0000003a7c5c723c */
        /*00a0*/              @!P0 BRA 0x10 ;                                /* 0xffffff6000008947 */
        /*00b0*/                   STG.E.64 [R2.64], R88 ;                   /* 0x0000005802007986 */
        /*00c0*/                   EXIT ;                                    /* 0x000000000000794d */
        /*00d0*/                   BRA 0xd0;                                 /* 0xfffffff000007947 */
        /*00e0*/                   NOP;                                      /* 0x0000000000007918 */
"""

# Of `nvdisasm -c`: labels instead of addresses.
LABELS = """
	.target	sm_90
.section	.text._Z4wantPf,"ax",@progbits
.text._Z4wantPf:
        /*0000*/                   S2R R0, SR_TID.X ;
.L_x_0:
        /*0010*/                   LDG.E.128.CONSTANT R8, desc[UR4][R2.64] ;
        /*0020*/                   LDS.64 R4, [R0] ;
        /*0030*/                   HMMA.16816.F32.BF16 R16, R4, R8, R16 ;
        /*0040*/                   VIADD R0, R0, 0x1 ;
        /*0050*/                   IMAD.WIDE R2, R0, 0x4, R2 ;
        /*0060*/                   ISETP.NE.AND P0, PT, R0, 0x8, PT ;
        /*0070*/               @P0 BRA `(.L_x_0) ;
        /*0080*/                   EXIT ;
"""

# A loop over planes: copies, products in a rolled loop, an epilogue; and one of other warps, without copies.
MARCH = """
	.target	sm_80
.section	.text._Z5marchPf,"ax",@progbits
.L_plane:
        /*0000*/                   LDGSTS.E.BYPASS.128 [R39], [R24.64], P2 ;
        /*0010*/                   IADD3 R39, R39, 0xa00, RZ ;
.L_turn:
        /*0020*/                   LDSM.16.M88.4 R124, [R180] ;
        /*0030*/                   HMMA.16816.F32.BF16 R88, R124, R56, R88 ;
        /*0040*/                   ISETP.NE.AND P0, PT, R0, 0x8, PT ;
        /*0050*/               @P0 BRA `(.L_turn) ;
        /*0060*/                   IMAD.WIDE R2, R0, 0x4, R2 ;
        /*0070*/                   LDG.E.64 R8, [R2.64] ;
        /*0080*/                   IADD3 R2, R2, 0x8, RZ ;
        /*0090*/               @P1 BRA `(.L_plane) ;
.L_other:
        /*00a0*/                   LDS.64 R4, [R0] ;
        /*00b0*/                   HMMA.16816.F32.BF16 R88, R124, R56, R88 ;
        /*00c0*/               @P0 BRA `(.L_other) ;
        /*00d0*/                   EXIT ;
"""

USAGE = """
arch = sm_80
Resource usage:
 Function _Z4tilePf:
  REG:214 STACK:16 SHARED:1024 LOCAL:0 CONSTANT[0]:592 TEXTURE:0 SURFACE:0 SAMPLER:0
"""

PTXAS = """
ptxas info    : Compiling entry function '_Z4tilePf' for 'sm_80'
ptxas info    : Function properties for _Z4tilePf
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 214 registers, used 1 barriers, 592 bytes cmem[0]
"""

SITE = {"space": "shared", "access": "load", "ptx": "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1}, [%r2];"}
COPY = {"space": "global", "access": "load", "ptx": "cp.async.cg.shared.global [%r1], [%rd1], 16, %r2;"}
PROFILE = {
    "kernels": [
        {
            "kernel": "void vg::kernels::cuda::(anonymous namespace)::tile_kernel<(int)3>(float*)",
            "launches": 2,
            "grid": [4, 1, 1],
            "block": [64, 2, 1],
            "shared_bytes": 4096,
            "instructions": {"int": 320, "mma": 640},
            "flop_tensor": 81920,
            "global_load": {"requests": 10, "bytes": 3200, "sectors": 200, "efficiency": 0.5},
            "global_store": {"requests": 1, "bytes": 320, "sectors": 10, "efficiency": 1},
            "shared_load": {"requests": 5, "wavefronts": 30, "ideal": 20},
            "shared_store": {"requests": 5, "wavefronts": 10, "ideal": 10},
            "unique_bytes": 4800,
            "sites": [
                {**SITE, "requests": 5, "bytes": 0, "wavefronts": 21, "ideal": 20},
                {**COPY, "requests": 5, "bytes": 1600, "sectors": 50, "ideal": 50},
                {"space": "global", "access": "load", "ptx": "ld.global.f32 %f1, [%rd1];", "bytes": 1, "sectors": 9},
            ],
        },
    ]
}

NCU = """==PROF== Connected
"ID","Kernel Name","Block Size","smsp__inst_executed.sum","dram__bytes_read.sum","dram__bytes_write.sum",\
"lts__t_sectors_srcunit_tex_op_read.sum","l1tex__data_pipe_lsu_wavefronts_mem_shared.sum",\
"l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum","sm__inst_executed_pipe_tensor.sum",\
"launch__shared_mem_per_block_dynamic"
"","","","inst","Mbyte","byte","sector","","","inst","Kbyte/block"
"0","tile(float *)","(128, 2, 1)","1,000","2.5","100","50","110","10","7","4"
"1","tile(float *)","(128, 2, 1)","1,000","2.5","100","50","110","10","7","4"
"""

SHAPES = """batch 2
# name op in out D H W kernel stride directions
first conv 4 16 4 6 8 3 1 fprop,wgrad
up transposed 32 16 2 3 4 3 2 all  # doubles
"""


class SassTest(unittest.TestCase):
    def test_main_loop_is_the_innermost_with_products(self):
        (kernel,) = sass.parse_sass(SASS)
        self.assertEqual((kernel.name, kernel.architecture), ("_Z4tilePf", 80))
        loop = kernel.main_loop()
        self.assertEqual((loop.first, loop.last), (0x10, 0xA0))
        mix = sass.mix_of(loop.instructions)
        self.assertEqual((mix.mma, mix.mma_bfloat16, mix.integer), (2, 2, 1))
        self.assertEqual((mix.ldsm, dict(mix.lds), dict(mix.ldgsts)), (1, {16: 1}, {16: 1}))
        self.assertEqual((mix.loads, mix.wide_loads, mix.total), (3, 3, 9))

    def test_rules_pass(self):
        (kernel,) = sass.parse_sass(SASS)
        self.assertTrue(all(rule.passed for rule in sass.check_main_loops(kernel)))

    def test_a_main_loop_holds_its_copies_and_no_epilogue(self):
        (kernel,) = sass.parse_sass(MARCH)
        march, other = kernel.main_loops()
        self.assertEqual([(march.first, march.last), (other.first, other.last)], [(0, 0x50), (0xA0, 0xC0)])
        mix = sass.mix_of(march.instructions)
        self.assertEqual((mix.mma, mix.integer, dict(mix.ldgsts), dict(mix.ldg)), (1, 2, {16: 1}, {}))
        mix = sass.mix_of(kernel.main_loops(turns=3)[0].instructions)
        self.assertEqual((mix.mma, mix.integer, mix.ldsm, dict(mix.ldgsts)), (3, 4, 3, {16: 1}))
        self.assertEqual(kernel.main_loop().first, 0)  # the worse of both

    def test_all_main_loops_of_a_kernel_are_judged(self):
        (kernel,) = sass.parse_sass(MARCH)
        failed = [rule.found for rule in sass.check_main_loops(kernel) if not rule.passed]
        self.assertEqual(failed, ["1 narrow LDS"])  # that of the other warps
        (kernel,) = sass.parse_sass(MARCH.replace("IADD3 R39, R39", "IADD3 R39, R39, RZ ;\n /*0018*/ IADD3 R39, R39"))
        failed = [rule.found for rule in sass.check_main_loops(kernel) if not rule.passed]
        self.assertEqual(failed[0], "3.00")
        self.assertEqual(len(sass.check_main_loops(kernel, 2)), 4)
        self.assertTrue(sass.check_main_loops(kernel, 2)[0].passed)

    def test_a_warpgroups_products_count_as_those_of_its_warps(self):
        (kernel,) = sass.parse_sass(SASS.replace("HMMA.16816.F32.BF16", "HGMMA.64x128x16.F32.BF16"))
        mix = sass.mix_of(kernel.main_loop().instructions)
        self.assertEqual((mix.mma, mix.products, mix.mma_bfloat16), (2, 32, 2))

    def test_labels_and_rules_that_fail(self):
        (kernel,) = sass.parse_sass(LABELS)
        self.assertEqual((kernel.name, kernel.architecture), ("_Z4wantPf", 90))
        self.assertEqual(kernel.main_loop().first, 0x10)
        failed = [rule.text for rule in sass.check_main_loops(kernel) if not rule.passed]
        self.assertEqual(len(failed), 3)  # integer instructions, a narrow LDS, an LDG

    def test_a_kernel_without_products_has_no_main_loop(self):
        kernels = sass.parse_sass(SASS.replace("HMMA.16816.F32.BF16", "FFMA"))
        self.assertIsNone(kernels[0].main_loop())
        self.assertEqual(sass.check_main_loops(kernels[0]), [])

    def test_resources(self):
        self.assertEqual(sass.parse_resource_usage(USAGE), {("_Z4tilePf", 80): (214, 16, 1024)})
        self.assertEqual(sass.parse_ptxas(PTXAS), {("_Z4tilePf", 80): 20})

    def test_short_names(self):
        name = "void vg::kernels::cuda::(anonymous namespace)::halo<vg::kernels::cuda::(anonymous namespace)::T<(int)7> >"
        self.assertEqual(sass.short_name(name + "(vg::kernels::View<float>, int)"), "halo<T<7>>")
        self.assertEqual(sass.short_name("_Z4tilePf"), "_Z4tilePf")


class DevicesTest(unittest.TestCase):
    def occupancy(self, capability, *block):
        return devices.occupancy(devices.ARCHITECTURES[capability], *block)

    def test_occupancy(self):
        self.assertEqual(self.occupancy(80, 32, 256, 0), (8, 64, "warps"))
        self.assertEqual(self.occupancy(80, 214, 128, 72576), (2, 8, "registers"))
        self.assertEqual(self.occupancy(90, 128, 128, 72576), (3, 12, "shared memory"))
        self.assertEqual(self.occupancy(120, 32, 32, 0), (24, 24, "blocks"))
        self.assertEqual(self.occupancy(120, 32, 128, 120_000), (0, 0, "shared memory"))

    def test_bounds(self):
        counted = counters.Counters(tensor_flops=312e9, dram_bytes=1555e6, load_sectors=4500e6 / 32)
        for resource in ("tensor", "DRAM", "L2"):
            self.assertAlmostEqual(devices.bounds_ms(devices.GPUS["A100-40"], counted)[resource], 1)


class CountersTest(unittest.TestCase):
    def read(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".profile") as file:
            file.write(text)
            file.flush()
            return counters.read_profile(file.name)

    def test_json(self):
        (kernel,) = self.read(json.dumps(PROFILE))
        self.assertEqual((kernel.threads, kernel.shared_bytes, kernel.launches), (128, 4096, 2))
        c = kernel.counters
        self.assertEqual((c.tensor_flops, c.warp_instructions, c.integer_instructions), (81920, 30, 10))
        self.assertEqual((c.dram_bytes, c.l2_bytes), (4800, 210 * 32))
        self.assertAlmostEqual(c.bank_conflict_factor, 40 / 30)
        self.assertAlmostEqual(c.main_bank_conflict_factor, 1.05)
        self.assertAlmostEqual(c.load_efficiency, 0.5)
        self.assertAlmostEqual(c.main_load_efficiency, 1)

    def test_what_is_written_in_place_counts_twice(self):
        text = json.dumps(PROFILE).replace("tile_kernel", "adam_kernel")
        self.assertEqual(self.read(text)[0].counters.dram_bytes, 4800 + 320)

    def test_a_profile_may_say_what_was_written_in_place(self):
        (plain,) = PROFILE["kernels"]
        for name in ("tile_kernel", "adam_kernel"):
            kernel = {**plain, "kernel": name, "rewritten_bytes": 160}
            (read,) = self.read(json.dumps({"kernels": [kernel]}))
            self.assertEqual(read.counters.dram_bytes, 4800 + 160)

    def test_csv_adds_launches_and_converts_units(self):
        (kernel,) = self.read(NCU)
        self.assertEqual((kernel.launches, kernel.threads, kernel.shared_bytes), (2, 256, 4000))
        c = kernel.counters
        self.assertEqual((c.warp_instructions, c.dram_bytes), (2000, 2 * 2_500_100))
        self.assertEqual((c.shared_wavefronts, c.shared_ideal), (220, 200))
        self.assertEqual(c.tensor_flops, 2 * 7 * 4096)

    def test_other_files_are_refused(self):
        for text in ("", "{}", '{"kernels": [{}]}', '"a","b"\n"1","2"\n'):
            with self.assertRaises(counters.ProfileError, msg=text):
                self.read(text)


class NetworkTest(unittest.TestCase):
    def test_layers(self):
        first, up = network.parse_shapes(SHAPES)
        self.assertEqual((first.in_voxels, first.out_voxels, first.directions), (384, 384, ("fprop", "wgrad")))
        self.assertEqual(first.flops, 2 * 384 * 64 * 27)
        self.assertEqual(first.least_bytes, 2 * (384 * 20 + 64 * 27))
        self.assertEqual((up.in_voxels, up.out_voxels, up.flops), (48, 384, 2 * 48 * 512 * 27))

    def test_bounds_of_the_network(self):
        layers = {layer.name: layer for layer in network.read_shapes(cli.DEFAULT_SHAPES)}
        a100, h100 = devices.GPUS["A100-40"], devices.GPUS["H100"]
        self.assertAlmostEqual(layers["level0.conv1"].reference_ms(a100), 0.41, places=2)
        self.assertAlmostEqual(layers["level0.conv0"].reference_ms(a100), 0.24, places=2)
        self.assertAlmostEqual(layers["level1.merge"].reference_ms(h100), 0.20, places=2)
        self.assertAlmostEqual(layers["level0.up"].reference_ms(h100), 0.11, places=2)
        step = sum(l.flops * len(l.directions) for l in layers.values() if l.kernel == 3)
        self.assertAlmostEqual(step / 1e12, 2.58, places=2)

    def test_errors_name_the_line(self):
        for text in ("a conv 1", "a pool 1 1 1 1 1 3 1 all", "a conv 1 1 1 1 1 3 1 up", "batch", "# none"):
            with self.assertRaises(network.ShapeError, msg=text):
                network.parse_shapes(text)


class CommandTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def run_command(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(list(arguments))
        return status, out.getvalue(), err.getvalue()

    def test_saved_text(self):
        saved = ["--sass", self.write("a.sass", SASS), "--usage", self.write("a.usage", USAGE)]
        status, out, _ = self.run_command(*saved, "--launch", "tile=128,72576")
        self.assertEqual(status, 0)
        self.assertIn("2 x 128, 12% (registers)", out)
        status, _, err = self.run_command(*saved, "--ptxas", self.write("a.log", PTXAS))
        self.assertEqual(status, 1)
        self.assertIn("no spilled registers (found 20 B)", err)

    def test_main_loops_that_are_judged(self):
        saved = ["--sass", self.write("a.sass", LABELS)]
        self.assertEqual(self.run_command(*saved)[0], 1)
        self.assertEqual(self.run_command(*saved, "--main-loops", "halo")[0], 0)
        self.assertEqual(self.run_command(*saved, "--main-loops", "want")[0], 1)

    def test_turns_of_rolled_loops(self):
        saved = ["--sass", self.write("a.sass", MARCH.replace("LDS.64", "LDS.128"))]
        self.assertIn("| 1 | 2.00 |", self.run_command(*saved)[1])
        self.assertIn("| 3 | 1.33 |", self.run_command(*saved, "--turns", "march=3")[1])
        self.assertIn("| 1 | 2.00 |", self.run_command(*saved, "--turns", "other=3")[1])
        self.assertEqual(self.run_command(*saved, "--turns", "march")[0], 2)

    def test_an_input_is_not_overwritten(self):
        path = self.write("step.json", json.dumps(PROFILE))
        status, _, err = self.run_command("--step", path, "--output", str(self.folder / "step.md"))
        self.assertEqual(status, 2)
        self.assertIn("would overwrite", err)
        self.assertEqual(json.loads(pathlib.Path(path).read_text()), PROFILE)

    def test_layers_from_parts(self):
        few, more = json.loads(json.dumps(PROFILE)), json.loads(json.dumps(PROFILE))
        few["kernels"][0].update(blocks=40, blocks_run=2)
        more["kernels"][0].update(blocks=40, blocks_run=4, unique_bytes=4900, flop_tensor=2 * 81920)
        shapes = self.write("shapes.txt", SHAPES)
        self.write("up.dgrad.2.json", json.dumps(few))
        self.write("up.dgrad.4.json", json.dumps(more))
        out = str(self.folder / "report.md")
        self.run_command("--layers", str(self.folder), "--shapes", shapes, "--output", out)
        (layer,) = json.loads((self.folder / "report.json").read_text())["tables"]["layers"]
        self.assertEqual(layer["counted"]["dram_bytes"], 4900 + 36 * 50)
        self.assertEqual(layer["counted"]["tensor_flops"], 20 * 81920)
        self.assertIn("| up 32->16 | dgrad |", pathlib.Path(out).read_text())

    def test_step(self):
        path = self.write("step.json", json.dumps(PROFILE))
        status, out, _ = self.run_command("--step", path, "--step-scale", "8")
        self.assertEqual(status, 0)
        self.assertIn("counters times 8", out)
        self.assertEqual(self.run_command("--step", path, "--step-scale", "3e6")[0], 1)
        self.assertIn("| `tile_kernel<3>` | 2 |", out)
        self.assertNotIn("tile_kernel", self.run_command("--step", path, "--kernels", "^(?!tile)")[1])

    def test_step_beside_its_convolutions(self):
        path, output = self.write("step.json", json.dumps(PROFILE)), self.folder / "report.md"
        arguments = ["--step", path, "--shapes", self.write("shapes.txt", SHAPES), "--output", str(output)]
        self.assertEqual(self.run_command(*arguments, "--step-scale", "40")[0], 0)
        step = json.loads(output.with_suffix(".json").read_text())["tables"]["step"]
        first, up = 384 * 2 * (4 + 16) + 2 * 4 * 16 * 27, 48 * 2 * 32 + 384 * 2 * 16 + 2 * 32 * 16 * 27
        self.assertEqual(step["bytes"], 40 * 4800)
        self.assertEqual(step["beside_convolutions"], 40 * 4800 - 2 * first - 3 * up)
        status, _, errors = self.run_command(*arguments, "--step-scale", "3e6")
        self.assertEqual(status, 1)
        self.assertIn("FAIL step: at most 13 GB beside the convolutions' own (found 14.40 GB)", errors)

    def test_profile_runs_every_direction(self):
        shapes = self.write("shapes.txt", SHAPES)
        template = "echo {command} --on {blocks} > {profile}"
        arguments = ["--bench", "b", "--out", str(self.folder), "--shapes", shapes, "--layer", "first"]
        status, _, _ = self.run_command("profile", *arguments, "--run", template, "--blocks", "3,16")
        self.assertEqual(status, 0)
        names = sorted(p.name for p in self.folder.glob("first*"))
        self.assertEqual(names, [f"first.{d}.{b}.json" for d in ("fprop", "wgrad") for b in (16, 3)])
        text = (self.folder / names[-1]).read_text()
        self.assertIn("--layer first --direction wgrad --batch 0 --once --on 3", text)

    def test_errors(self):
        for arguments in (
            [],
            ["--layers", "/nowhere"],
            ["--step", "/nowhere"],
            ["--build", str(self.folder)],
            ["--sass", self.write("a.sass", SASS), "--launch", "x"],
        ):
            status, _, err = self.run_command(*arguments)
            self.assertEqual(status, 2, arguments)
            self.assertIn("static-report: error:", err)


class ReportTest(unittest.TestCase):
    def test_failures_are_listed(self):
        result = report.Report()
        result.judge("a", "rule", True, "1")
        result.judge("b", "rule", False, "3")
        self.assertIn("- FAIL b: rule (found 3)", result.markdown())
        self.assertIn("- FAIL rule: 1 of 2", result.markdown())


if __name__ == "__main__":
    unittest.main()
