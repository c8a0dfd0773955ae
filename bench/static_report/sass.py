"""Reads what cuobjdump, nvdisasm and ptxas print about kernels."""

import re
from collections import Counter
from dataclasses import dataclass, field

_ARCH = re.compile(r"(?:arch = sm_|\.target\s+sm_|EF_CUDA_SM)(\d+)")
_FUNCTION = re.compile(r"(?:Function : |\.section\s+\.text\.)([\w$.]+)")
_INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;")
_LABEL = re.compile(r"^\s*(\.L_[\w]+):")
_WARPGROUP = re.compile(r"^HGMMA\.64x(\d+)x16\b")
_BRANCH = re.compile(r"\bBRA(?:\.\S+)?\s.*?(?:0x([0-9a-f]+)|`\((\.L_\w+)\))")

# Instructions of the integer units, and those that the multiply-add units carry out for them; uniform ones
# (U...) take an issue slot too. Plain moves are not among them.
INTEGER = (
    "BFE BFI BMSK FLO IABS IADD IADD3 ICMP IDP IMAD IMNMX ISCADD ISETP LEA LOP LOP3 POPC PRMT SEL SGXT SHF SHL "
    "SHR VIADD VIADDMNMX VIMNMX VIMNMX3 XMAD"
).split()


@dataclass
class Instruction:
    address: int
    text: str
    target: int = None

    @property
    def never_executed(self):
        """ptxas puts `@!PT LDS RZ, [RZ]` before the first LDGSTS of a loop: a predicate that is never true."""
        return self.text.startswith("@!PT ") or self.text.startswith("@!UPT ")

    @property
    def opcode(self):
        return re.sub(r"^@!?U?P\w+\s+", "", self.text).split()[0]


@dataclass
class Loop:
    first: int
    last: int
    instructions: list = field(default_factory=list)

    def contains(self, other):
        return (self.first, self.last) != (other.first, other.last) and (
            self.first <= other.first and other.last <= self.last
        )


@dataclass
class Mix:
    """Instructions by what they do. Loads are counted by width: {4: .., 8: .., 16: ..}."""

    total: int = 0
    mma: int = 0
    products: int = 0  # of mma.m16n8k16's size: a warp's share of a warpgroup's 64 x N x 16 is N / 8
    mma_bfloat16: int = 0
    integer: int = 0
    ldsm: int = 0
    lds: Counter = field(default_factory=Counter)
    ldg: Counter = field(default_factory=Counter)
    ldgsts: Counter = field(default_factory=Counter)
    local: int = 0  # LDL and STL

    @property
    def loads(self):
        return self.ldsm + sum(map(sum, (self.lds.values(), self.ldg.values(), self.ldgsts.values())))

    @property
    def wide_loads(self):
        """16 bytes a lane; LDSM.x4 reads 16 bytes a lane too."""
        return self.ldsm + self.lds[16] + self.ldg[16] + self.ldgsts[16]


@dataclass
class Kernel:
    name: str
    architecture: int
    instructions: list = field(default_factory=list)
    registers: int = None
    static_shared: int = None
    stack: int = None
    spill_bytes: int = None

    def mix(self):
        return mix_of(self.instructions)

    def main_loops(self, turns=1):
        """What each kind of warps does most: one loop for each outermost one with tensor-core instructions.

        That is the innermost loop in it with the most of them. Where that copies nothing to shared memory and one
        around it does, it is the latter, up to the last products in it: what follows, an epilogue, is left out;
        the innermost loops count `turns` times then.
        """
        loops = [loop for loop in find_loops(self.instructions) if mix_of(loop.instructions).mma]
        outermost = [loop for loop in loops if not any(other.contains(loop) for other in loops)]
        return [_main_loop([l for l in loops if l is outer or outer.contains(l)], turns) for outer in outermost]

    def main_loop(self, turns=1):
        """Of main_loops() the one with the most integer instructions a product, or None without any."""
        return max(self.main_loops(turns), key=lambda loop: integers_a_product(loop.instructions), default=None)


def _main_loop(nest, turns):
    innermost = [loop for loop in nest if not any(loop.contains(other) for other in nest)]
    products = max(innermost, key=lambda loop: mix_of(loop.instructions).mma)
    around = [l for l in nest if l is products or l.contains(products)]
    copying = [l for l in around if mix_of(l.instructions).ldgsts]
    loop = min(copying, key=lambda l: l.last - l.first, default=products)
    if loop is products:
        return products
    inner = [l for l in innermost if loop.contains(l)]
    end = max(l.last for l in nest if loop.contains(l))
    instructions = []
    for instruction in loop.instructions:
        if instruction.address <= end:
            inside = any(l.first <= instruction.address <= l.last for l in inner)
            instructions += [instruction] * (turns if inside else 1)
    return Loop(loop.first, end, instructions)


def integers_a_product(instructions):
    mix = mix_of(instructions)
    return mix.integer / mix.products


def _width(opcode):
    parts = opcode.split(".")
    if "128" in parts:
        return 16
    if "64" in parts:
        return 8
    return 4


def mix_of(instructions):
    mix = Mix()
    for instruction in instructions:
        if instruction.never_executed:
            continue
        opcode = instruction.opcode
        base = opcode.split(".")[0]
        if base == "NOP":
            continue
        mix.total += 1
        if base in ("HMMA", "IMMA", "DMMA", "HGMMA"):
            mix.mma += 1
            columns = _WARPGROUP.search(opcode)
            mix.products += int(columns[1]) // 8 if columns else 1
            mix.mma_bfloat16 += "BF16" in opcode
        elif base == "LDSM":
            mix.ldsm += 1
        elif base == "LDS":
            mix.lds[_width(opcode)] += 1
        elif base in ("LDG", "LD"):
            mix.ldg[_width(opcode)] += 1
        elif base == "LDGSTS":
            mix.ldgsts[_width(opcode)] += 1
        elif base in ("LDL", "STL"):
            mix.local += 1
        elif base in INTEGER or (base[0] == "U" and base[1:] in INTEGER):
            mix.integer += 1
    return mix


def find_loops(instructions):
    """A loop for each branch backwards: from its target to the furthest branch there."""
    ends = {}
    for instruction in instructions:
        if instruction.target is not None and instruction.target < instruction.address:
            ends[instruction.target] = max(ends.get(instruction.target, 0), instruction.address)
    return [
        Loop(first, last, [i for i in instructions if first <= i.address <= last])
        for first, last in sorted(ends.items())
    ]


def parse_sass(text):
    """Kernels of the output of `cuobjdump -sass`, or of `nvdisasm -c` whose text names the architecture."""
    kernels, kernel, architecture = [], None, None
    labels, pending = {}, []

    def finish():
        if kernel is None:
            return
        for instruction in kernel.instructions:
            branch = _BRANCH.search(instruction.text)
            if branch and branch[1] is not None:
                instruction.target = int(branch[1], 16)
            elif branch:
                instruction.target = labels.get(branch[2])
        labels.clear()

    for line in text.splitlines():
        found = _INSTRUCTION.match(line)
        if found:
            if kernel is not None:
                address = int(found[1], 16)
                kernel.instructions.append(Instruction(address, found[2].strip("{} ")))
                for label in pending:
                    labels[label] = address
                pending.clear()
            continue
        found = _FUNCTION.search(line)
        if found:
            finish()
            kernel = Kernel(found[1], architecture)
            kernels.append(kernel)
            continue
        found = _LABEL.match(line)
        if found:
            pending.append(found[1])
            continue
        found = _ARCH.search(line)
        if found:
            architecture = int(found[1])
            if kernel is not None and not kernel.instructions:
                kernel.architecture = architecture
    finish()
    return [k for k in kernels if k.instructions]


_USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)")


def parse_resource_usage(text):
    """{(name, architecture): (registers, stack, static shared)} of `cuobjdump --dump-resource-usage`."""
    usage, architecture, name = {}, None, None
    for line in text.splitlines():
        found = _ARCH.search(line)
        if found:
            architecture = int(found[1])
        found = re.search(r"Function (\S+):\s*$", line)
        if found:
            name = found[1]
        found = _USAGE.search(line)
        if found and name is not None:
            usage[name, architecture] = tuple(map(int, found.groups()))
            name = None
    return usage


def parse_ptxas(text):
    """{(name, architecture): spilled bytes, stores and loads} of the log of `nvcc -Xptxas -v`."""
    spills, key = {}, None
    for line in text.splitlines():
        found = re.search(r"Compiling entry function '(\S+)' for 'sm_(\d+)a?'", line)
        if found:
            key = found[1], int(found[2])
        found = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if found and key is not None:
            spills[key] = int(found[1]) + int(found[2])
            key = None
    return spills


_NAMESPACES = re.compile(r"\b(?:vg|kernels|cuda)::|\(anonymous namespace\)::|<unnamed>::")


def short_name(demangled):
    """Function and template arguments of a demangled kernel, without its namespaces and parameters."""
    name = _NAMESPACES.sub("", demangled)
    name = re.sub(r"^(?:static |void )+", "", name)
    depth = 0
    for i, character in enumerate(name):
        if character == "<":
            depth += 1
        elif character == ">":
            depth -= 1
        elif character == "(" and depth == 0:
            name = name[:i]
            break
    return re.sub(r"\((?:int|unsigned int|bool|long)\)", "", name).replace(" ", "")


@dataclass
class Rule:
    text: str
    passed: bool
    found: str


def check_main_loops(kernel, turns=1):
    """The rules for main loops of bfloat16 tensor-core instructions, all of a kernel's; [] for other kernels."""
    mixes = [mix_of(loop.instructions) for loop in kernel.main_loops(turns)]
    if not any(mix.mma_bfloat16 for mix in mixes):
        return []
    ratio = max(mix.integer / mix.products for mix in mixes)
    narrow_shared = sum(n for mix in mixes for width, n in mix.lds.items() if width != 16)
    narrow_copies = sum(n for mix in mixes for width, n in mix.ldgsts.items() if width != 16)
    global_loads = sum(n for mix in mixes for n in mix.ldg.values())
    local = sum(mix.local for mix in mixes)
    return [
        Rule("at most 2 integer instructions per HMMA", ratio <= 2, f"{ratio:.2f}"),
        Rule("shared memory read by LDSM and 16-byte LDS", narrow_shared == 0, f"{narrow_shared} narrow LDS"),
        Rule(
            "global memory read by LDGSTS of 16 bytes",
            narrow_copies == 0 and global_loads == 0,
            f"{global_loads} LDG, {narrow_copies} narrow LDGSTS",
        ),
        Rule("no local memory in the main loop", local == 0, f"{local} LDL/STL"),
    ]
