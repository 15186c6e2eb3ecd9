"""Our own search on recorded curves, with the real search loop and the real store."""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from autotune.bench.search.grid import Ground
from autotune.bench.search.play import Arena
from autotune.bench.search.simulated import Simulated
from autotune.bench.search.trace import Trace
from autotune.pruners.ladder import SAFE_RUNG, Ladder
from autotune.scheduler import full_runs, racing
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.search.asking import Asker
from autotune.search.coordinator import Loop
from autotune.search.events import Event, TrialEnded, TrialProgressed, TrialStarted
from autotune.search.opening import Checked, check_sampler, open_search
from autotune.seeds import training
from autotune.studies.records import Role, TrialState
from autotune.studies.spec import Budget, SearchSpec
from autotune.studies.store import Store

SEEDS = 64  # seed indices that a search may use

# Judging runs do not change the recommendation. Here the held-out seeds judge all methods, so these
# runs are neither paid for nor counted.
JUDGING = 2.0 * SearchSpec.model_fields["seeds"].default


def search(arena: Arena, **policies: Any) -> Trace:
    """Return what one search with the whole budget spent and would have recommended over time.

    ``policies`` are keys of a spec: another sampler or pruner than our own.
    """
    with (
        TemporaryDirectory(prefix="autotune-bench-") as folder,
        Store(f"{folder}/autotune.db") as store,
    ):
        return replay(arena, store, Path(folder), **policies)


def replay(arena: Arena, store: Store, folder: Path, **policies: Any) -> Trace:
    """Search with a given store; raises SpecError if the budget is too small."""
    spec = SearchSpec(
        model="recorded",
        optimizers=(arena.ground.optimizer,),
        name="bench",
        budget=Budget(runs=arena.runs + JUDGING),
        seed=arena.seed,
        workers=arena.workers,
        engine="simulated",
        **policies,
    )
    check_sampler(spec, {arena.ground.optimizer: arena.ground.space})
    full_runs.check_budget(Policy.of(spec))
    opened = open_search(_recorded(spec, arena.ground), store)
    engine = Simulated(arena.workers, arena.ground, _seeds(spec, arena.ground.table.seeds))
    listener = _TraceListener(arena.ground, opened.states[0], engine)
    asker = Asker(spec, store, opened, listener, threading.Event(), folder)
    Loop(asker).run(engine)
    return listener.trace


def _recorded(spec: SearchSpec, ground: Ground) -> Checked:
    """Return a search with the space and rungs of the table."""
    rungs = ground.table.rungs
    return Checked(
        spec=spec,
        facts={"model": spec.model, "data": ground.table.name, "steps": ground.table.target},
        spaces={ground.optimizer: ground.space},
        ladder=Ladder(steps=rungs, first=rungs[0], safe=rungs[min(SAFE_RUNG, len(rungs) - 1)]),
    )


def _seeds(spec: SearchSpec, recorded: int) -> dict[int, int]:
    """Assign recorded seeds to seed indices, in a new order for each repetition."""
    order = np.random.default_rng([spec.seed, 2]).permutation(recorded).tolist()
    return {training(spec.seed, index): order[index % recorded] for index in range(SEEDS)}


class _TraceListener:
    """A listener that records what a search spends and would recommend."""

    def __init__(self, ground: Ground, state: StudyState, engine: Simulated) -> None:
        self.ground, self.state, self.engine = ground, state, engine
        self.trace = Trace(default=ground.default)
        self._began: dict[int, float] = {}

    def __call__(self, event: Event) -> None:
        """Record an event."""
        if isinstance(event, TrialStarted | TrialEnded) and event.trial.role is Role.JUDGE:
            return
        if isinstance(event, TrialStarted):
            self._began[event.trial.id] = self.engine.clock
        elif isinstance(event, TrialEnded):
            began = self._began.pop(event.trial.id)
            self.trace.intervals.append((began, self.engine.clock))
        if isinstance(event, TrialEnded | TrialProgressed):
            self._recommend()

    def _recommend(self) -> None:
        number = recommended(self.state)
        if number is not None:
            hyper = self.state.of(Role.SEARCH)[number].setting.hyper
            self.trace.recommend(self.engine.clock, self.ground.number(hyper))


def recommended(state: StudyState) -> int | None:
    """Return the search trial that would be recommended now; None before any loss.

    Until finalists are compared, that is the lowest loss among the trials that went furthest, as
    for all methods.
    """
    number = racing.chosen(state)
    if number is not None:
        return number
    seen = [
        (-step, loss, trial.number)
        for trial in state.of(Role.SEARCH)
        if trial.state not in {TrialState.DIVERGED, TrialState.FAILED}
        for step, loss in state.losses[trial.id].items()
    ]
    return min(seen)[-1] if seen else None
