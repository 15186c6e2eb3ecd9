"""All search methods that can be compared, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from autotune.bench.search import ours as search_ours
from autotune.bench.search.peers import Optuna, Places, sobol, uniform
from autotune.bench.search.play import Arena, play
from autotune.bench.search.trace import Trace
from autotune.errors import SpecError, UnknownName
from autotune.pruners.ladder import ETA
from autotune.registry import load, unknown
from autotune.seeds import derive


@dataclass(frozen=True, kw_only=True)
class Played:
    """One repetition of a method.

    Args:
        numbers: Setting recommended at each checkpoint; None if the method cannot use that budget.
        spent: Full runs that were spent.
        took: Time until the end of the last trial, in full runs.
    """

    numbers: tuple[int | None, ...]
    spent: float
    took: float


Method = Callable[[Arena, Sequence[float]], Played]


def _read(trace: Trace, checkpoints: Sequence[float]) -> Played:
    return Played(numbers=tuple(trace.at(checkpoints)), spent=trace.spent, took=trace.took)


def ours(arena: Arena, checkpoints: Sequence[float]) -> Played:
    """Search once with the whole budget; read what would be recommended at each checkpoint."""
    return _read(search_ours.search(arena), checkpoints)


def ours_planned(arena: Arena, checkpoints: Sequence[float]) -> Played:
    """Search once per checkpoint, with that checkpoint as the whole budget."""
    numbers: list[int | None] = []
    trace = Trace(default=arena.ground.default)
    for runs in checkpoints:
        try:
            trace = search_ours.search(arena.with_runs(runs))
        except SpecError:
            numbers.append(None)
        else:
            numbers.append(trace.at([runs])[0])
    return Played(numbers=tuple(numbers), spent=trace.spent, took=trace.took)


def random(arena: Arena, checkpoints: Sequence[float]) -> Played:
    """Draw uniformly."""
    return _read(play(arena, uniform(arena.shape, arena.seed)), checkpoints)


def random2x(arena: Arena, checkpoints: Sequence[float]) -> Played:
    """Draw uniformly, with twice the budget."""
    return _read(play(arena, uniform(arena.shape, arena.seed), share=0.5), checkpoints)


def quasirandom(arena: Arena, checkpoints: Sequence[float]) -> Played:
    """Take scrambled Sobol points."""
    return _read(play(arena, sobol(arena.shape, arena.seed)), checkpoints)


def tpe(arena: Arena, checkpoints: Sequence[float]) -> Played:
    """Ask Optuna's default sampler with its default options."""
    return _read(play(arena, _tpe(arena)), checkpoints)


def tpe_told(arena: Arena, checkpoints: Sequence[float]) -> Played:
    """Do the same, after the known settings of our method."""
    return _read(play(arena, _tpe(arena, arena.ground.known)), checkpoints)


def _tpe(arena: Arena, known: Sequence[Places] = ()) -> Optuna:
    from optuna.samplers import TPESampler

    return Optuna(arena.shape, TPESampler(seed=derive(arena.seed, "tpe")), known=known)


def gp(arena: Arena, checkpoints: Sequence[float]) -> Played:
    """Ask Optuna's Gaussian process with its default options."""
    from optuna.samplers import GPSampler

    sampler = GPSampler(seed=derive(arena.seed, "gp"))
    return _read(play(arena, Optuna(arena.shape, sampler)), checkpoints)


def asha(arena: Arena, checkpoints: Sequence[float]) -> Played:
    """Draw uniformly; Optuna's asynchronous halving stops trials from the first rung on."""
    return _read(play(arena, _asha(arena)), checkpoints)


def asha_told(arena: Arena, checkpoints: Sequence[float]) -> Played:
    """Do the same, after the known settings of our method."""
    return _read(play(arena, _asha(arena, arena.ground.known)), checkpoints)


def _asha(arena: Arena, known: Sequence[Places] = ()) -> Optuna:
    from optuna.pruners import SuccessiveHalvingPruner
    from optuna.samplers import RandomSampler

    pruner = SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA)
    sampler = RandomSampler(seed=derive(arena.seed, "asha"))
    return Optuna(arena.shape, sampler, pruner, known)


def default(arena: Arena, checkpoints: Sequence[float]) -> Played:
    """Search nothing: take the optimizer's default."""
    return _read(Trace(default=arena.ground.default), checkpoints)


METHODS: Mapping[str, Method] = {
    "ours": ours,
    "ours-planned": ours_planned,
    "random": random,
    "random2x": random2x,
    "sobol": quasirandom,
    "tpe": tpe,
    "gp": gp,
    "asha": asha,
    "default": default,
    "tpe-told": tpe_told,
    "asha-told": asha_told,
}
POLICIES = ("sampler", "pruner")  # may follow the name of our method


def named(names: Sequence[str]) -> dict[str, Method]:
    """Return the methods of these names; raises UnknownName."""
    return {name: _method(name) for name in names}


def _method(name: str) -> Method:
    """Return a method; ``ours/tpe/asha`` is our search with that sampler and that pruner."""
    base, *policies = name.split("/")
    if policies and base == "ours" and len(policies) <= len(POLICIES):
        chosen = dict(zip(POLICIES, policies, strict=False))
        for kind, policy in chosen.items():
            load(f"autotune.{kind}s", policy)
        return partial(_ours_with, chosen)
    if name not in METHODS:
        raise UnknownName(unknown("method", name, METHODS))
    return METHODS[name]


def _ours_with(policies: Mapping[str, str], arena: Arena, checkpoints: Sequence[float]) -> Played:
    return _read(search_ours.search(arena, **policies), checkpoints)
