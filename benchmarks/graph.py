"""Replay optimizer steps as CUDA graphs, and compare with the same steps launched one by one.

A graph keeps what it was captured with, so the learning rate is a tensor, changed between replays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch

from autotune.bench import machine
from autotune.bench.step.clock import DeviceClock
from autotune.bench.step.plan import Stage
from autotune.bench.step.tensors import Tensors
from autotune.cli.document import document
from autotune.errors import SpecError
from autotune.optimizers import create

OPTIMIZERS = ("adan", "adan-win2", "adamw", "adamw-win2", "lamb-win2", "sgd")
WARM = 3
REPLAYS = 50


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Milliseconds of a step in a graph and outside of it, and whether the graph obeys the rate."""

    optimizer: str
    shapes: str
    graph_ms: float | None = None
    eager_ms: float | None = None
    follows_lr: bool | None = None
    refused: str | None = None


@click.command()
@click.option("--shapes", default="resnet50", show_default=True)
@click.option("--save", type=click.Path(path_type=Path), help="Also write the JSON document.")
def main(shapes: str, save: Path | None) -> None:
    """Time steps replayed as CUDA graphs."""
    if not torch.cuda.is_available():
        raise SystemExit(f"error: graphs need a GPU, PyTorch {torch.__version__} sees none")
    stage = Stage(shapes=shapes, dtype="float32", device="cuda", threads=1)
    rows = [replayed(name, stage) for name in OPTIMIZERS]
    text = document(machine=machine.facts("cuda"), graphs=rows)
    if save is not None:
        save.write_text(f"{text}\n", encoding="utf-8")
    for row in rows:
        click.echo(row)


def replayed(name: str, stage: Stage) -> Replayed:
    """Measure one optimizer; what cannot be captured says why."""
    tensors = Tensors(stage.tensors, stage.torch_dtype, stage.device)
    tensors.renew()  # once: a graph reads the gradients it was captured with
    rate = torch.tensor(1e-3, device="cuda")
    plain = create(name, tensors.params, weight_decay=0.0)
    for _ in range(WARM):
        plain.step()
    try:
        optimizer = create(name, tensors.params, lr=rate, weight_decay=0.0, capturable=True)
        graph = captured(optimizer.step)
    except (RuntimeError, SpecError, TypeError, ValueError) as error:
        return Replayed(optimizer=name, shapes=stage.shapes, refused=" ".join(str(error).split()))
    return Replayed(
        optimizer=name,
        shapes=stage.shapes,
        graph_ms=milliseconds(graph.replay),
        eager_ms=milliseconds(plain.step),
        follows_lr=follows(graph.replay, rate, tensors.params[0]),
    )


def captured(step: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    """Return a graph of the step, which is warmed up on a stream of its own as PyTorch asks."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def milliseconds(work: Callable[[], Any]) -> float:
    """Return the median time of a piece of work."""
    clock = DeviceClock()
    return 1e3 * median(clock.lap(work).seconds for _ in range(REPLAYS))


def follows(replay: Callable[[], Any], rate: torch.Tensor, p: torch.Tensor) -> bool:
    """Whether a rate a thousand times as large moves a parameter further in one replay."""

    def moved(lr: float) -> float:
        rate.fill_(lr)
        before = p.detach().clone()
        replay()
        return float((p.detach() - before).abs().max())

    return moved(1.0) > 10 * moved(1e-3)


if __name__ == "__main__":
    main()
