"""CUDA graphs: a piece of work recorded once, and sent to the GPU again with one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from autotune.bench.gpu.section import Late, Row, tried
from autotune.bench.gpu.steps import Variant
from autotune.bench.step.timing import DeviceClock, median_duration
from autotune.bench.step.workload import Tensors, Workload
from autotune.optimizers import create

WARM = 3
_REPLAYS = 30


def captured(work: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    """Return a graph of the work, which is warmed up on a stream of its own as PyTorch asks."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def replays(workload: Workload, variants: Sequence[Variant], late: Late) -> Iterator[Row]:
    """Yield what steps take in a graph, and the same steps launched one by one."""
    for variant in variants:
        yield tried({"optimizer": variant.name}, partial(_row, variant, workload))


def _row(variant: Variant, workload: Workload) -> Row:
    tensors = Tensors(workload.tensors, workload.torch_dtype, workload.device)
    tensors.renew()  # once: a graph reads the gradients it was captured with
    plain = variant.build(tensors.params)
    graphed = create(variant.rule, tensors.params, capturable=True, **variant.hyper)
    launched = median_duration(DeviceClock(), plain.step, _REPLAYS)
    replayed = median_duration(DeviceClock(), captured(graphed.step).replay, _REPLAYS)
    return {
        "ms": 1e3 * launched.seconds,
        "host ms": 1e3 * launched.host,
        "graph ms": 1e3 * replayed.seconds,
        "graph host ms": 1e3 * replayed.host,
    }
