"""What kernels are compiled to, for devices that are not here."""

import re
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules import (
    adahessian,
    adam,
    adan,
    cautious,
    coord_clip,
    decay,
    lamb,
    lars,
    lion,
    lookahead,
    mars,
    schedule_free,
    sgd,
    win,
)
from autotune.kernels.rules.norms import TRUST
from autotune.kernels.triton import configs
from autotune.optimizers import Adan, tape

triton = pytest.importorskip("triton")
GPUTarget = pytest.importorskip("triton.backends.compiler").GPUTarget
JITFunction = pytest.importorskip("triton.runtime.jit").JITFunction
driver = pytest.importorskip("triton.runtime.driver").driver

SM_80, SM_90 = GPUTarget("cuda", 80, 32), GPUTarget("cuda", 90, 32)
GFX942 = GPUTarget("hip", "gfx942", 64)
TARGETS = {"sm_80": SM_80, "sm_90": SM_90, "gfx942": GFX942}
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"

ADAN = Rule(direction=adan.ADAN, application=decay.PROXIMAL)
ADAN_WIN2 = Rule(direction=adan.ADAN, application=win.WIN2)
LAMB_WIN = Rule(direction=lamb.LAMB, application=win.WIN, shaping=TRUST)
AHEAD = Rule(direction=adan.ADAN, application=lookahead.OF[cautious.OF[decay.PROXIMAL]])
OTHERS = {
    "amsgrad": Rule(direction=adam.AMSGRAD, application=decay.DECOUPLED),
    "sgd": Rule(direction=sgd.SGD, application=decay.DESCENT),
    "adahessian": Rule(direction=adahessian.RAISED, application=decay.DECOUPLED),
    "lars": Rule(direction=sgd.SGD, application=decay.DESCENT, shaping=lars.LARS),
    "cautious": Rule(
        direction=sgd.SGD, application=cautious.OF[decay.DECOUPLED], shaping=cautious.CAUTIOUS
    ),
    "filtered": Rule(
        direction=sgd.SGD,
        application=decay.DESCENT,
        shaping=cautious.CAUTIOUS,
        filter=mars.MARS,
        gradient_shaping=mars.CLIPPED,
    ),
    "lion": Rule(direction=lion.LION, application=decay.DECOUPLED),
    "averaged": Rule(direction=adam.UNAVERAGED, application=schedule_free.SCHEDULE_FREE),
    "ahead": Rule(direction=adam.ADAM, application=lookahead.OF[decay.DECOUPLED]),
}
FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16


class Absent:
    """A device to compile for."""

    def __init__(self, target):
        self.target = target

    def get_current_device(self):
        return str(self.target)

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        return self.target


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """Return ``f(architecture, rule, ...)``: what a real step compiles, by its kernels' names."""
    from autotune.kernels.triton import step as triton_step

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    made = {}

    def launch(self, grid):
        def warm_up(*tables, **options):
            made[self.fn.__name__] = self.run(*tables, grid=grid, warmup=True, **options)

        return warm_up

    def step(arch, rule, dtypes=(FP32, FP32, FP32), row=None, clip=False, overflow=None):
        p, g, s = (torch.zeros(5000, dtype=dtype) for dtype in dtypes)
        update = Update(p, g, (s,) * len(rule.buffers), row or (0.5,) * len(rule.scalars))
        monkeypatch.setattr(triton_step, "config", lambda device: configs.settings(arch))
        driver.set_active(Absent(TARGETS[arch]))
        triton_step.step(rule, [update], triton_step.squares([g]) if clip else None, overflow)
        return made

    monkeypatch.setattr(JITFunction, "__getitem__", launch)
    before = driver._active
    yield step
    driver._active = before


def tool(name, *arguments):
    run = subprocess.run([TOOLS / name, *arguments], check=True, capture_output=True, text=True)
    return run.stdout


@pytest.fixture
def machine(tmp_path):
    """Return ``f(kernel)``: its registers, bytes spilled, and accesses of memory by width."""

    def read(kernel):
        binary = tmp_path / "kernel.cubin"
        binary.write_bytes(kernel.asm["cubin"])
        usage = dict(
            re.findall(r"(REG|LOCAL|STACK):(\d+)", tool("cuobjdump", "-res-usage", binary))
        )
        code = tool("nvdisasm", binary)
        assert not re.search(r"\b(LDL|STL)\b", code)
        widths = re.findall(r"\b(LDG|STG)\.E(?:\.\w+)*?\.?(128|64|U16|U8)?\s", code)
        spilled = int(usage["LOCAL"]) + int(usage["STACK"])
        return int(usage["REG"]), spilled, Counter(widths)

    return read


@pytest.fixture
def instructions(tmp_path):
    """Return ``f(kernel)``: how many there are for each element, in the loop without masks."""

    def count(kernel):
        binary = tmp_path / "kernel.cubin"
        binary.write_bytes(kernel.asm["cubin"])
        found, labels = [], {}
        for line in tool("nvdisasm", "-c", binary).splitlines():
            if label := re.match(r"\s*(\.L_\w+):", line):
                labels[label[1]] = len(found)
            elif code := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
                found.append(code[1])
        for end, code in enumerate(found):
            jump = re.search(r"\bBRA\b.*?(\.L_\w+)", code)
            body = found[labels[jump[1]] : end + 1] if jump else []
            if any(re.search(r"\bLDG\.E\.(?:\w+\.)*?(64|128)", each) for each in body):
                return len(body) / 4  # of a thread
        raise AssertionError("no loop reads vectors")

    return count


def accesses(rule, arch):
    """Return the accesses expected when every tensor is in single precision."""
    setting = configs.settings(arch)
    lanes = setting.block // (32 * setting.warps)
    reads, writes = len(rule.buffers) + 2, len(rule.buffers) + 1
    return {
        ("LDG", "128"): reads * lanes // 4,
        ("STG", "128"): writes * lanes // 4,
        ("LDG", ""): reads * lanes + len(rule.scalars),  # the masked branch, and the row
        ("STG", ""): writes * lanes,
        ("LDG", "64"): reads + 3,  # addresses, and a line of the table of chunks
    }


@pytest.mark.parametrize(
    ("arch", "rule", "registers"),
    [("sm_80", ADAN, 64), ("sm_90", ADAN, 64), ("sm_90", ADAN_WIN2, 80)],
    ids=["sm_80-adan", "sm_90-adan", "sm_90-adan-win2"],
)
def test_all_but_the_masked_branch_moves_16_bytes_at_once(compiled, machine, arch, rule, registers):
    used, spilled, widths = machine(compiled(arch, rule)["fused_step"])
    assert widths == accesses(rule, arch)
    assert spilled == 0
    assert used <= registers


@pytest.mark.parametrize("setting", configs.SWEPT, ids=lambda s: f"{s.chunk}-{s.block}-{s.warps}")
def test_every_setting_that_a_sweep_measures_is_as_good(compiled, machine, setting, monkeypatch):
    monkeypatch.setitem(configs.MEASURED, "sm_90", setting)
    used, spilled, widths = machine(compiled("sm_90", ADAN)["fused_step"])
    assert widths == accesses(ADAN, "sm_90")
    assert spilled == 0
    assert used <= 96


def test_asking_for_an_overflow_costs_one_number(compiled, machine):
    kernel = compiled("sm_90", ADAN, overflow=torch.zeros(()))["fused_step"]
    expected = accesses(ADAN, "sm_90")
    expected["LDG", ""] += 1
    used, spilled, widths = machine(kernel)
    assert widths == expected
    assert spilled == 0
    assert used <= 64


@pytest.mark.parametrize("rule", [ADAN, LAMB_WIN, AHEAD], ids=["adan", "lamb-win", "ahead"])
def test_amd_moves_16_bytes_at_once(compiled, rule):
    code = compiled("gfx942", rule)["fused_step"].asm["amdgcn"]
    wide = Counter(re.findall(r"\bglobal_(load|store)_dwordx4\b", code))
    assert wide == {"load": len(rule.buffers) + 2, "store": len(rule.buffers) + 1}
    assert not re.search(r"\b(scratch|buffer|flat)_(load|store)", code)
    assert set(re.findall(r"\.\wgpr_spill_count:\s+(\d+)", code)) == {"0"}


def test_only_pointers_of_the_branch_without_masks_are_said_to_be_aligned(compiled):
    code = compiled("sm_90", ADAN)["fused_step"].asm["ttir"]
    pointers = [line for line in code.splitlines() if "tt.int_to_ptr" in line]
    hinted = [line for line in pointers if "tt.divisibility" in line]
    assert len(hinted) == len(pointers) / 2 == len(ADAN.buffers) + 2


def test_norms_and_squares_read_16_bytes_at_once(compiled, machine):
    made = compiled("sm_90", LAMB_WIN, clip=True)
    assert set(made) == {"fused_squares", "fused_norms", "fused_factors", "fused_step"}
    for name in ("fused_squares", "fused_norms"):
        registers, spilled, widths = machine(made[name])
        assert widths["LDG", "128"] >= 1
        assert spilled == 0
        assert registers <= 80


@pytest.mark.parametrize("arch", ["sm_90", "gfx942"])
def test_quantiles_are_found_by_counts_in_shared_memory(compiled, machine, arch):
    rule = Rule(direction=adam.ADAM, application=decay.DESCENT, shaping=coord_clip.UPDATE)
    made = compiled(arch, rule)
    assert set(made) == {"fused_counts", "fused_digits", "fused_step"}
    counts = made["fused_counts"]
    if arch == "gfx942":
        assert re.search(r"\bds_add_u32\b", counts.asm["amdgcn"])
        return
    registers, spilled, widths = machine(counts)
    assert widths["LDG", "128"] >= 3  # the gradient and two averages; the parameter is not read
    assert not widths["STG", "128"]
    assert spilled == 0
    assert registers <= 80
    assert re.search(r"\bred\.relaxed\.gpu\.global\.add\.u64|atom\.\S*add\.u64", counts.asm["ptx"])


@pytest.mark.parametrize(
    "dtypes",
    [(BF16, BF16, FP32), (FP16, FP32, BF16), (torch.float64,) * 3],
    ids=lambda dtypes: "-".join(str(dtype).removeprefix("torch.") for dtype in dtypes),
)
def test_any_dtypes_are_read_in_vectors(compiled, machine, dtypes):
    _, spilled, widths = machine(compiled("sm_90", ADAN, dtypes)["fused_step"])
    narrow = sum(dtype.itemsize == 2 for dtype in (dtypes[0], dtypes[1], *dtypes[2:] * 4))
    wide = 6 - narrow
    assert widths["LDG", "128"] == (2 * wide if dtypes[0] == torch.float64 else wide)
    assert spilled == 0


# Before the upper bits of an element's number were taken once a chunk, these were 183 and 211.
@pytest.mark.parametrize(("dtype", "budget"), [(FP32, 165), (BF16, 188)], ids=["fp32", "bf16"])
def test_rounding_at_random_reads_in_vectors_too(compiled, machine, instructions, dtype, budget):
    rule = replace(ADAN_WIN2, dithered=(0, 2, 3, 4, 5), relative=True)
    kernel = compiled("sm_90", rule, (dtype, dtype, BF16))["fused_step"]
    registers, spilled, widths = machine(kernel)
    assert widths["LDG", "128"] + widths["LDG", "64"] >= len(rule.buffers) + 2
    assert widths["STG", "128"] + widths["STG", "64"] >= len(rule.buffers) + 1
    assert spilled == 0
    assert registers <= 128
    assert instructions(kernel) <= budget


def test_rounding_at_random_compiles_for_amd(compiled):
    rule = replace(ADAN, dithered=(0, 2, 3, 4, 5))
    code = compiled("gfx942", rule, (BF16, BF16, BF16))["fused_step"].asm["amdgcn"]
    assert set(re.findall(r"\.\wgpr_spill_count:\s+(\d+)", code)) == {"0"}


@pytest.mark.parametrize("rule", OTHERS.values(), ids=OTHERS.keys())
def test_every_part_of_a_rule_compiles(compiled, machine, rule):
    registers, spilled, widths = machine(compiled("sm_90", rule, clip=True)["fused_step"])
    assert widths["STG", "128"] >= len(rule.buffers) + 1
    assert spilled == 0
    assert registers <= 80


@pytest.mark.parametrize("arch", ["sm_90", "gfx942"])
def test_what_comes_before_a_captured_step_is_exact(compiled, arch):
    from autotune.kernels.triton import prelude

    [group] = [{"betas": (0.9, 0.8, 0.7), "eps": 1e-8, "acceleration": "none"}]
    notes = tape.Notes()
    row = (*Adan.scalars(None, group, notes.step, False), notes.rate, 0.1)
    counter, rate, found = torch.tensor(3), torch.tensor(0.1), torch.tensor(0.0)
    programs = prelude.Programs()
    programs.add(notes.tape(row), notes.constants, rate, [counter], 5)
    weight = torch.tensor(0.5, dtype=torch.float64)
    programs.add(notes.tape(row, averaged=True), notes.constants, rate, [counter], 5, weight)
    made = programs.prelude(
        compute=FP32, order=range(10), limit=1.0, eps=0.0, overflow=torch.tensor(0.0)
    )
    kernels = compiled(arch, OTHERS["sgd"])
    made.run(torch.tensor(1.0, dtype=torch.float64), found)
    kernel = kernels["fused_prelude"]
    assert kernel.metadata.enable_fp_fusion is False
    if arch == "sm_90":
        code = kernel.asm["ptx"]
        assert {"div.rn.f64", "sqrt.rn.f64", "bar.sync"} <= set(re.findall(r"[a-z]\S+\b", code))
        assert not re.search(r"\b(div|sqrt)\.(full|approx)", code)


def variants(arch):
    from autotune.kernels import lang
    from autotune.kernels.triton.step import fused_factors, fused_norms, fused_squares, fused_step

    kernels = (fused_step, fused_norms, fused_factors, fused_squares)
    caches = [lang.kernel(kernel).device_caches[str(TARGETS[arch])][0] for kernel in kernels]
    return [len(cache) for cache in caches]


def test_a_schedule_compiles_nothing_new(compiled):
    row = (0.1,) * len(LAMB_WIN.scalars)
    compiled("sm_90", LAMB_WIN, row=row, clip=True)
    before = variants("sm_90")
    for lr in (0.0, 1.0, 0.25, 16.0):
        compiled("sm_90", LAMB_WIN, row=(*row[:-1], lr), clip=True)
    assert variants("sm_90") == before
    assert before[0] >= 1


def test_fusing_multiplication_and_addition_is_not_left_to_triton(compiled, monkeypatch):
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "0")
    options = compiled("sm_90", OTHERS["sgd"])["fused_step"].metadata
    assert options.enable_fp_fusion is True
