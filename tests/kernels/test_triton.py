"""Every part of a rule is a valid Triton device function. No device is needed to compile."""

import subprocess
import sys

import pytest

pytest.importorskip("triton")

COMPILE = """
import sys
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from autotune.kernels import adam, adan, decay, lamb, norms, sgd, win
from autotune.kernels.lang import device


@triton.jit
def direct(part: tl.constexpr, p_ptr, out_ptr, state, scalars):
    at = tl.arange(0, 64)
    p = tl.load(p_ptr + at)
    kept = ()
    for i in tl.static_range(len(state)):
        kept = kept + (tl.load(state[i] + at),)
    u, kept = part(p, p, kept, scalars)
    tl.store(out_ptr + at, u)
    for i in tl.static_range(len(state)):
        tl.store(state[i] + at, kept[i])


for part in (adan.ADAN, adam.ADAM, adam.AMSGRAD, lamb.LAMB, sgd.SGD,
             decay.DESCENT, decay.DECOUPLED, decay.PROXIMAL, win.WIN, win.WIN2):
    source = ASTSource(
        fn=direct,
        signature=dict(
            part="constexpr", p_ptr="*fp32", out_ptr="*fp32",
            state=("*fp32",) * len(part.buffers), scalars=("fp32",) * len(part.scalars),
        ),
        constexprs={"part": device(part.fn)},
    )
    triton.compile(source, target=GPUTarget("cuda", 90, 32))
    sys.stdout.write(part.fn.fn.__name__ + " ")
"""


def test_every_part_compiles_for_a_device(tmp_path):
    file = tmp_path / "compile_parts.py"
    file.write_text(COMPILE)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TRITON_INTERPRET": "0"}
    run = subprocess.run(
        [sys.executable, str(file)], check=False, capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "adan adam amsgrad lamb sgd descent decoupled proximal win win2 "
