"""What is measured on a GPU, in which order, and what of it a CPU can try."""

from __future__ import annotations

from functools import partial

import torch

from autotune.bench.gpu import graphs, replicas, training
from autotune.bench.gpu import steps as gpu_steps
from autotune.bench.gpu.section import Section
from autotune.bench.gpu.steps import Variant
from autotune.bench.gpu.training import Mode
from autotune.bench.step.implementations import Own
from autotune.bench.step.workload import Workload

_HALF = {"state_dtype": torch.bfloat16}
_ROUNDED = {**_HALF, "stochastic_rounding": True}

ADAN = Variant(name="adan", rule="adan")
ADAMW = Variant(name="adamw", rule="adamw")
LAMB = Variant(name="lamb-win2", rule="lamb-win2")
CLIPPED = Variant(name="adan clipped", rule="adan", hyper={"max_grad_norm": 1.0})
HALF_STATE = Variant(name="adan bfloat16 state", rule="adan", hyper=_HALF)
FULL = (
    ADAN,
    Variant(name="adan-win2", rule="adan-win2"),
    ADAMW,
    Variant(name="adamw-win2", rule="adamw-win2"),
    LAMB,
    Variant(name="sgd", rule="sgd"),
    CLIPPED,
    HALF_STATE,
    Variant(name="adan-win2 compact", rule="adan-win2", hyper={**_HALF, "compact": True}),
)
# For parameters in bfloat16, whose updates are lost where they are rounded to the nearest.
HALF = (
    ADAN,
    ADAMW,
    Variant(name="adan rounded", rule="adan", hyper=_ROUNDED),
    Variant(name="adamw rounded", rule="adamw", hyper=_ROUNDED),
)
REPLAYED = (
    ADAN,
    ADAMW,
    Variant(name="adamw clipped", rule="adamw", hyper={"max_grad_norm": 1.0}),
    LAMB,
    HALF_STATE,
)
STREAMED = {
    "resnet50": Mode(graph=True, half=True),
    "resnet-mini": Mode(graph=True),
    "gpt-nano": Mode(graph=True),
}


def _workload(shapes: str, device: str, dtype: str = "float32") -> Workload:
    return Workload(shapes=shapes, dtype=dtype, device=device, threads=1)


def _steps(
    workload: Workload, seconds: float, variants: tuple[Variant, ...], rounds: int = 5
) -> Section:
    rows = partial(gpu_steps.steps, workload, variants, rounds)
    return Section(name=f"steps, {workload.shapes} in {workload.dtype}", seconds=seconds, rows=rows)


def _sweep(*pairs: tuple[Workload, Variant], seconds: float) -> Section:
    rows = partial(gpu_steps.sweeps, pairs)
    return Section(name="sweep, ms at chunk/block/warps", seconds=seconds, rows=rows)


def _first(workload: Workload, seconds: float, backend: str) -> Section:
    own = (Own(rule="adan", backend=backend),)
    rows = partial(gpu_steps.first_steps, workload, own)
    return Section(name=f"first step, {workload.shapes}", seconds=seconds, rows=rows)


def on(device: str) -> list[Section]:
    """Return the sections for a device, the most important first: time may run short."""
    return _on_gpu() if device == "cuda" else _on_cpu()


def _on_gpu() -> list[Section]:
    workloads = {name: _workload(name, "cuda") for name in ("resnet50", "gpt2", "gpt2-xl", "small")}
    half = _workload("gpt2", "cuda", "bfloat16")
    sizes = (workloads["resnet50"].parameters, workloads["gpt2"].parameters, 1 << 29)
    swept = [
        (workloads[name], each) for name in ("gpt2", "resnet50") for each in (ADAN, HALF_STATE)
    ]
    return [
        Section(name="bandwidth", seconds=15, rows=partial(gpu_steps.bandwidth, "cuda", sizes)),
        _steps(workloads["resnet50"], 45, FULL),
        _steps(workloads["gpt2"], 40, FULL),
        _steps(half, 30, HALF),
        Section(
            name="graphs, resnet50 in float32",
            seconds=20,
            rows=partial(graphs.replays, workloads["resnet50"], REPLAYED),
        ),
        Section(
            name="training",
            seconds=60,
            rows=partial(training.modes, ("resnet50", "resnet-mini", "gpt-nano", "mlp"), "cuda"),
        ),
        Section(
            name="losses apart from the CPU's",
            seconds=15,
            rows=partial(training.agreement, ("mlp", "resnet-mini", "gpt-nano"), 20, "cuda"),
        ),
        Section(
            name="trials on streams",
            seconds=35,
            rows=partial(training.streams, STREAMED, (1, 4, 16)),
        ),
        Section(
            name="replicas side by side",
            seconds=20,
            rows=partial(replicas.batched, ("mlp", "gpt-pico"), (16, 64, 256), "cuda"),
        ),
        _sweep(*swept, (half, HALF[-1]), (workloads["gpt2"], FULL[1]), seconds=60),
        _steps(workloads["small"], 20, (ADAN, ADAMW, LAMB)),
        _steps(workloads["gpt2-xl"], 20, (ADAN, ADAMW), rounds=2),
        _first(workloads["resnet50"], 25, "triton"),
    ]


def _on_cpu() -> list[Section]:
    small, half = _workload("small", "cpu"), _workload("small", "cpu", "bfloat16")
    return [
        Section(name="bandwidth", seconds=10, rows=partial(gpu_steps.bandwidth, "cpu", (1 << 20,))),
        _steps(small, 40, (ADAN, CLIPPED), rounds=1),
        _steps(half, 30, HALF[-1:], rounds=1),
        Section(
            name="training",
            seconds=30,
            rows=partial(training.modes, ("gpt-nano", "mlp"), "cpu"),
        ),
        Section(
            name="losses apart from the CPU's",
            seconds=10,
            rows=partial(training.agreement, ("mlp",), 3, "cpu"),
        ),
        Section(
            name="replicas side by side",
            seconds=20,
            rows=partial(replicas.batched, ("mlp", "gpt-pico"), (16,), "cpu"),
        ),
        _sweep((small, ADAN), seconds=30),
        _first(small, 25, "torch"),
    ]
