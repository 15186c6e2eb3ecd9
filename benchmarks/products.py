"""Time a step of ``resnet50`` with convolutions as products beside its own; prints a table.

One thread of this process; rounds interleave all contenders, forwards and backwards, in thread
time. A ratio is the median over rounds. ``float32`` and ``bfloat16`` may be given as arguments, the
first alone is measured without. What a processor without AVX-512 does is measured under
ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2, in float32.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from autotune.models.products import use_products
from autotune.tasks.base import Run
from autotune.tasks.resolve import resolve
from autotune.tasks.supervised import Supervised
from autotune.tasks.training import Precision
from autotune.training.process import single_threaded

ROUNDS = 5


def model(wide: int | None, seed: int = 0) -> nn.Module:
    """Return ResNet-50, with products from so many channels on or with transformers' own layers."""
    made = ResNetForImageClassification(ResNetConfig(num_labels=100))
    if wide is not None:
        use_products(made, wide)
    return made


def run(precision: Precision, wide: int | None) -> Run:
    """Return a run of the task."""
    task = resolve("resnet50")
    if not isinstance(task, Supervised):
        raise TypeError("resnet50 must be a supervised task")
    return replace(task, precision=precision, build=partial(model, wide)).start(0)


def step(of: Run) -> None:
    """Compute the gradients of a batch."""
    of.model.zero_grad(set_to_none=True)
    of.loss(0).backward()  # type: ignore[no-untyped-call]


def seconds(call: Callable[[], object]) -> float:
    """Return the processor time that a call takes in this thread."""
    began = time.thread_time()
    call()
    return time.thread_time() - began


def measure(contenders: dict[str, Callable[[], object]]) -> None:
    """Print medians, and ratios to the first contender."""
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(ROUNDS + 1):
        for name in list(contenders)[:: 1 if i % 2 else -1]:
            took[name].append(seconds(contenders[name]))
    first = next(iter(contenders))
    for name, all_times in took.items():
        times = all_times[1:]
        ratio = median(a / b for a, b in zip(times, took[first][1:], strict=True))
        sys.stdout.write(f"{name:42} {1e3 * median(times):7.1f} ms, ratio {ratio:.2f}\n")


if __name__ == "__main__":
    single_threaded()
    asked = {"convolutions": None, "products, 3x3 from 512 channels": 512}
    asked |= {f"products, 3x3 from {wide} channels": wide for wide in (256, 128)}
    names = sys.argv[1:] or ["float32"]
    precisions = [Precision[name.upper()] for name in names]
    runs = {
        f"{precision.name.lower()}, {name}": run(precision, wide)
        for precision in precisions
        for name, wide in asked.items()
    }
    measure({name: partial(step, each) for name, each in runs.items()})
    plain, ours = (run(precisions[0], wide) for wide in (None, 256))
    measure({"evaluation, convolutions": plain.evaluate, "evaluation, products": ours.evaluate})
