"""Optimizer steps on one device: what its memory can do, and what ours make of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from autotune.bench.gpu.section import Late, Row, tried
from autotune.bench.step import bandwidth as step_bandwidth
from autotune.bench.step import first_step, results
from autotune.bench.step.implementations import PEERS, Implementation, Own
from autotune.bench.step.measure import prepare
from autotune.bench.step.selection import probe, runnable
from autotune.bench.step.timing import Benchmark, clock, median_duration
from autotune.bench.step.workload import Workload
from autotune.kernels.triton.configs import SWEPT, Config, using
from autotune.optimizers import create

_REPEATS = 15
_ROUNDS = 2  # of a sweep


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of our optimizers, with arguments that change what a step moves or computes."""

    name: str
    rule: str
    hyper: Mapping[str, Any] = field(default_factory=dict)

    def build(self, params: list[torch.Tensor]) -> torch.optim.Optimizer:
        """Return the optimizer for these parameters."""
        return create(self.rule, params, **self.hyper)


@dataclass(frozen=True)
class Copy:
    """A copy of one array to another."""

    source: torch.Tensor
    target: torch.Tensor

    kind = "copy (1 read, 1 write)"

    @property
    def size(self) -> int:
        """The bytes moved by a pass."""
        return self.source.nbytes + self.target.nbytes

    def __call__(self) -> object:
        """Make one pass."""
        return self.target.copy_(self.source)


def bandwidth(device: str, sizes: Sequence[int], late: Late) -> Iterator[Row]:
    """Yield the bytes a second of copies, and of the stream that steps are compared with."""
    for parameters in sizes:
        arrays = (torch.ones(parameters, device=device) for _ in range(2))
        for stream in (Copy(*arrays), step_bandwidth.stream(parameters, device)):
            duration = median_duration(clock(device), stream, _REPEATS)
            yield {
                "stream": stream.kind,
                "MB": stream.size / 1e6,
                "GB/s": stream.size / duration.seconds / 1e9,
            }


def steps(
    workload: Workload, variants: Sequence[Variant], rounds: int, late: Late
) -> Iterator[Row]:
    """Yield what steps take, ours and those of all peers that can be imported."""
    implementations: list[Implementation] = []
    for each in (*variants, *_peers(workload)):
        row = tried({"optimizer": each.name}, partial(_bytes, each, workload))
        if "error" in row:
            yield row
        else:
            implementations.append(each)
    benchmark = prepare(workload, implementations)
    for _ in benchmark.run(rounds):
        if late():
            break
    for each in implementations:
        yield _row(each, workload, benchmark)


def _peers(workload: Workload) -> list[Implementation]:
    installed = [peer for peer in PEERS if peer.installed]
    ready, _ = runnable(installed, workload.torch_dtype, workload.device)
    return [each.implementation for each in ready]


def _bytes(each: Implementation, workload: Workload) -> Row:
    return {"bytes/param": probe(each, workload.torch_dtype, workload.device).total}


def _row(each: Implementation, workload: Workload, benchmark: Benchmark) -> Row:
    repeats = benchmark.repeats[each.name]
    ms, host = results.milliseconds(repeats), results.host_milliseconds(repeats)
    moved = _bytes(each, workload)
    size = moved["bytes/param"] * workload.parameters
    return {
        "optimizer": each.name,
        "ms": ms.median,
        "quartiles": f"{ms.lower:.3g}-{ms.upper:.3g}",
        "host ms": host.median,
        "host-bound": "yes" if results.host_bound(repeats) else "",
        **moved,
        "GB/s": size / ms.median / 1e6,
        "of stream": results.share(repeats, size, benchmark.stream.size),
    }


@dataclass(frozen=True, kw_only=True)
class Launched:
    """An implementation whose steps use one launch setting."""

    implementation: Implementation
    launch: Config

    @property
    def name(self) -> str:
        """What it is called while the benchmark lasts."""
        return f"{self.implementation.name} {self.launch}"

    def build(self, params: list[torch.Tensor]) -> Steps:
        """Return what steps these parameters."""
        return Steps(optimizer=self.implementation.build(params), launch=self.launch)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """An optimizer under its launch setting."""

    optimizer: torch.optim.Optimizer
    launch: Config

    def step(self) -> None:
        """Take a step."""
        with using(self.launch):
            self.optimizer.step()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one launch setting achieves."""

    launch: Config
    ms: float


def sweep(
    implementation: Implementation,
    workload: Workload,
    rounds: int,
    launches: Sequence[Config] = SWEPT,
) -> list[Setting]:
    """Time an implementation at every launch setting in turn; return the fastest first."""
    launched = [Launched(implementation=implementation, launch=launch) for launch in launches]
    benchmark = prepare(workload, launched)
    for _ in benchmark.run(rounds):
        pass
    settings = [
        Setting(launch=each.launch, ms=results.milliseconds(benchmark.repeats[each.name]).median)
        for each in launched
    ]
    return sorted(settings, key=lambda setting: setting.ms)


def sweeps(workloads: Iterable[tuple[Workload, Variant]], late: Late) -> Iterator[Row]:
    """Yield what steps take at each launch setting: chunk, block and warps."""
    for workload, variant in workloads:
        names = {"shapes": workload.shapes, "optimizer": variant.name}
        yield tried(names, partial(_swept, variant, workload))


def _swept(variant: Variant, workload: Workload) -> Row:
    settings = {setting.launch: setting.ms for setting in sweep(variant, workload, _ROUNDS)}
    return {f"{each.chunk}/{each.block}/{each.warps}": settings[each] for each in SWEPT}


def first_steps(workload: Workload, implementations: Sequence[Own], late: Late) -> Iterator[Row]:
    """Yield what first steps take in a new process, before and after compilers left files."""
    for each in implementations:
        yield tried({"optimizer": each.name}, partial(_first, each, workload))


def _first(each: Own, workload: Workload) -> Row:
    first = first_step.measure(each, workload)
    return {"first s": first.step, "again s": first.again, "torch's own s": first.torch}
