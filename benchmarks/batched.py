"""Time runs side by side beside runs one after another, on one thread; prints a table.

Rounds interleave all contenders, forwards and backwards; a ratio is of medians over the rounds, in
processor time of this process, so that others on the machine disturb less.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from autotune.models.gpt import GPT, NANO, side_by_side
from autotune.studies.setting import Setting
from autotune.tasks.resolve import resolve
from autotune.tasks.supervised import Supervised
from autotune.training.side_by_side import Member, loss_curves

COUNTS = (1, 4, 16, 64, 256)
ROUNDS = 5
STEPS = 27  # of each run, measured at the last


def tasks() -> list[tuple[Supervised, tuple[int, ...]]]:
    """Return what is timed, and how many replicas of it."""
    nano = resolve("gpt-nano", steps=STEPS)
    if not isinstance(nano, Supervised):
        raise TypeError("gpt-nano must be a supervised task")
    batched = replace(nano, build=lambda seed: GPT(NANO), side_by_side=partial(side_by_side, NANO))
    found = [(resolve(name, steps=STEPS), COUNTS) for name in ("mlp", "gpt-pico")]
    return [(task, counts) for task, counts in found if isinstance(task, Supervised)] + [
        (batched, (1, 4, 16))
    ]


def members(count: int) -> list[Member]:
    """Return runs of different settings on two seeds."""
    hyper = {"weight_decay": 0.02, "betas": (0.98, 0.92, 0.99)}
    return [
        Member(
            setting=Setting(params={}, hyper={**hyper, "lr": 1e-3 * 1.01**k}, warmup=0.1),
            seed=k % 2,
        )
        for k in range(count)
    ]


def seconds(run: Callable[[], object]) -> float:
    """Return the processor time a call takes."""
    began = time.process_time()
    run()
    return time.process_time() - began


def measure(task: Supervised, counts: tuple[int, ...]) -> None:
    """Print what a run takes alone and in batches."""
    alone = replace(task, side_by_side=None)
    contenders: dict[int, Callable[[], object]] = {0: lambda: trained(alone, 1)}
    contenders |= {count: partial(trained, task, count) for count in counts}
    for run in contenders.values():
        run()
    took: dict[int, list[float]] = {count: [] for count in contenders}
    for i in range(ROUNDS):
        for count in list(contenders)[:: 1 if i % 2 else -1]:
            took[count].append(seconds(contenders[count]) / max(1, count))
    base = median(took[0])
    parameters = task.facts()["parameters"]
    sys.stdout.write(f"{task.name}, {parameters:,} parameters, alone {1e3 * base:.1f} ms a run\n")
    for count in counts:
        each, spread = median(took[count]), max(took[count]) / min(took[count])
        sys.stdout.write(
            f"  K {count:4}  {1e3 * each:8.2f} ms a run  {base / each:5.1f} times as many settings "
            f"(slowest over fastest {spread:.2f})\n"
        )


def convolutions(count: int = 16) -> None:
    """Print what a layer of the small ResNet's takes as one grouped convolution of replicas."""
    for width, side in ((16, 12), (32, 6), (64, 3)):
        images = torch.randn(32, count * width, side, side, requires_grad=True)
        weights = torch.randn(count * width, width, 3, 3, requires_grad=True)
        one = images.detach()[:, :width].clone().requires_grad_()
        own = weights.detach()[:width].clone().requires_grad_()
        runs = (partial(_convolved, one, own, 1), partial(_convolved, images, weights, count))
        took = [[seconds(run) for run in runs] for _ in range(4 * ROUNDS)][1:]
        alone, grouped = (median(times) for times in zip(*took, strict=True))
        sys.stdout.write(
            f"convolution, {width} channels of {side} by {side}: {count} grouped are "
            f"{count * alone / grouped:.2f} times as fast as one after another\n"
        )


def _convolved(images: Tensor, weights: Tensor, groups: int) -> None:
    conv2d(images, weights, padding=1, groups=groups).sum().backward()  # type: ignore[no-untyped-call]


def trained(task: Supervised, count: int) -> object:
    """Train so many runs to their end."""
    return loss_curves(task, "adan-win", members(count), (STEPS,))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for each, counts in tasks():
        measure(each, counts)
    convolutions()
