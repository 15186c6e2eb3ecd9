"""This project's own search on a table: the engine as it is, its store too, on recorded curves."""

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
from autotune.scheduler import racing, stages
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.search.coordinator import Loop
from autotune.search.events import Event, TrialEnded, TrialProgressed, TrialStarted
from autotune.search.opening import Checked, check_sampler, open_search
from autotune.seeds import training
from autotune.studies.records import Role, TrialState
from autotune.studies.spec import Budget, SearchSpec
from autotune.studies.store import Store

SEEDS = 64  # seed indices that an engine may ask for

# Runs that report on a recommendation without a say in it: the held-out seeds do that here, for
# every method alike, so they are neither paid for nor counted.
JUDGING = 2.0 * SearchSpec.model_fields["seeds"].default


def search(arena: Arena, **policies: Any) -> Trace:
    """Return what one search of the whole budget spent and would have recommended meanwhile.

    ``policies`` are keys of a spec: the sampler or pruner to use instead of our own.
    """
    with (
        TemporaryDirectory(prefix="autotune-bench-") as folder,
        Store(f"{folder}/autotune.db") as store,
    ):
        return replay(arena, store, Path(folder), **policies)


def replay(arena: Arena, store: Store, folder: Path, **policies: Any) -> Trace:
    """Search in a store that is kept; raises SpecError for a budget too small for the engine."""
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
    stages.check_budget(Policy.of(spec))
    opened = open_search(_recorded(spec, arena.ground), store)
    backend = Simulated(arena.workers, arena.ground, _seeds(spec, arena.ground.table.seeds))
    scribe = _Scribe(arena.ground, opened.states[0], backend)
    Loop(spec, store, opened, scribe, threading.Event(), folder).run(backend)
    return scribe.trace


def _recorded(spec: SearchSpec, ground: Ground) -> Checked:
    """Return a search whose space and rungs are the table's."""
    rungs = ground.table.rungs
    return Checked(
        spec=spec,
        facts={"model": spec.model, "data": ground.table.name, "steps": ground.table.target},
        spaces={ground.optimizer: ground.space},
        ladder=Ladder(steps=rungs, first=rungs[0], safe=rungs[min(SAFE_RUNG, len(rungs) - 1)]),
    )


def _seeds(spec: SearchSpec, recorded: int) -> dict[int, int]:
    """Deal the recorded seeds to the engine's seed indices, in another order each repetition."""
    order = np.random.default_rng([spec.seed, 2]).permutation(recorded).tolist()
    return {training(spec.seed, index): order[index % recorded] for index in range(SEEDS)}


class _Scribe:
    """Listens to a search and writes down what it spends and would recommend."""

    def __init__(self, ground: Ground, state: StudyState, backend: Simulated) -> None:
        self.ground, self.state, self.backend = ground, state, backend
        self.trace = Trace(default=ground.default)
        self._began: dict[int, float] = {}

    def __call__(self, event: Event) -> None:
        """Write down an event."""
        if isinstance(event, TrialStarted | TrialEnded) and event.trial.role is Role.JUDGE:
            return
        if isinstance(event, TrialStarted):
            self._began[event.trial.id] = self.backend.clock
        elif isinstance(event, TrialEnded):
            began = self._began.pop(event.trial.id)
            self.trace.stretches.append((began, self.backend.clock))
        if isinstance(event, TrialEnded | TrialProgressed):
            self._recommend()

    def _recommend(self) -> None:
        number = recommended(self.state)
        if number is not None:
            hyper = self.state.of(Role.SEARCH)[number].hyper
            self.trace.recommend(self.backend.clock, self.ground.number(hyper))


def recommended(state: StudyState) -> int | None:
    """Return the search trial an engine stopped now would recommend; None before any loss.

    Until finalists are compared, that is the lowest loss among the furthest, as for all methods.
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
