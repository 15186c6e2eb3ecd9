"""Optimizer steps on one device: what its memory can do, and what ours make of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from autotune.bench.gpu.section import Late, Row, tried
from autotune.bench.step import bandwidth as step_stream
from autotune.bench.step import first_step as step_first
from autotune.bench.step import results
from autotune.bench.step import timing as step_clock
from autotune.bench.step.implementations import PEERS, Own, Stepper
from autotune.bench.step.measure import contest
from autotune.bench.step.selection import enter, probe
from autotune.bench.step.timing import Contest, median_lap
from autotune.bench.step.workload import Stage
from autotune.kernels.configs import SWEPT, Config, using
from autotune.optimizers import create

_LAPS = 15
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
        for stream in (Copy(*arrays), step_stream.of(parameters, device)):
            lap = median_lap(step_clock.of(device), stream, _LAPS)
            yield {
                "stream": stream.kind,
                "MB": stream.size / 1e6,
                "GB/s": stream.size / lap.seconds / 1e9,
            }


def steps(stage: Stage, variants: Sequence[Variant], rounds: int, late: Late) -> Iterator[Row]:
    """Yield what steps take, ours and those of all peers that can be imported."""
    contenders: list[Stepper] = []
    for each in (*variants, *_peers(stage)):
        row = tried({"optimizer": each.name}, partial(_bytes, each, stage))
        if "error" in row:
            yield row
        else:
            contenders.append(each)
    played = contest(stage, contenders)
    for _ in played.play(rounds):
        if late():
            break
    for each in contenders:
        yield _row(each, stage, played)


def _peers(stage: Stage) -> list[Stepper]:
    installed = [peer for peer in PEERS if peer.installed]
    return [entrant.contender for entrant in enter(installed, stage.torch_dtype, stage.device)[0]]


def _bytes(each: Stepper, stage: Stage) -> Row:
    return {"bytes/param": probe(each, stage.torch_dtype, stage.device).total}


def _row(each: Stepper, stage: Stage, played: Contest) -> Row:
    turns = played.turns[each.name]
    ms, host = results.milliseconds(turns), results.host_milliseconds(turns)
    moved = _bytes(each, stage)
    size = moved["bytes/param"] * stage.parameters
    return {
        "optimizer": each.name,
        "ms": ms.median,
        "quartiles": f"{ms.lower:.3g}-{ms.upper:.3g}",
        "host ms": host.median,
        "host-bound": "yes" if results.host_bound(turns) else "",
        **moved,
        "GB/s": size / ms.median / 1e6,
        "of stream": results.share(turns, size, played.stream.size),
    }


@dataclass(frozen=True, kw_only=True)
class Launched:
    """A contender whose steps use one launch setting."""

    stepper: Stepper
    launch: Config

    @property
    def name(self) -> str:
        """What it is called while the contest lasts."""
        return f"{self.stepper.name} {self.launch}"

    def build(self, params: list[torch.Tensor]) -> Steps:
        """Return what steps these parameters."""
        return Steps(optimizer=self.stepper.build(params), launch=self.launch)


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
    stepper: Stepper, stage: Stage, rounds: int, launches: Sequence[Config] = SWEPT
) -> list[Setting]:
    """Time a contender at every launch setting in turn; return the fastest first."""
    contenders = [Launched(stepper=stepper, launch=launch) for launch in launches]
    played = contest(stage, contenders)
    for _ in played.play(rounds):
        pass
    settings = [
        Setting(launch=each.launch, ms=results.milliseconds(played.turns[each.name]).median)
        for each in contenders
    ]
    return sorted(settings, key=lambda setting: setting.ms)


def sweeps(stages: Iterable[tuple[Stage, Variant]], late: Late) -> Iterator[Row]:
    """Yield what steps take at each launch setting: chunk, block and warps."""
    for stage, variant in stages:
        names = {"shapes": stage.shapes, "optimizer": variant.name}
        yield tried(names, partial(_swept, variant, stage))


def _swept(variant: Variant, stage: Stage) -> Row:
    settings = {setting.launch: setting.ms for setting in sweep(variant, stage, _ROUNDS)}
    return {f"{each.chunk}/{each.block}/{each.warps}": settings[each] for each in SWEPT}


def first_steps(stage: Stage, contenders: Sequence[Own], late: Late) -> Iterator[Row]:
    """Yield what first steps take in a new process, before and after compilers left files."""
    for each in contenders:
        yield tried({"optimizer": each.name}, partial(_first, each, stage))


def _first(each: Own, stage: Stage) -> Row:
    first = step_first.measure(each, stage)
    return {"first s": first.step, "again s": first.again, "torch's own s": first.torch}
