"""How a store bears many workers, and a study of 10,000 trials: python benchmarks/load.py [URL]."""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import create_engine, func, insert, select

from autotune.bench.machine import facts
from autotune.pruners.ladder import Ladder
from autotune.results import comparison
from autotune.scheduler.budget import BudgetTracker
from autotune.scheduler.policy import Policy
from autotune.scheduler.proposals import propose
from autotune.scheduler.study_state import StudyState
from autotune.search.coordinator import Loop
from autotune.search.opening import Opened
from autotune.search.turns import merge
from autotune.space.presets import presets_of, spaces_of
from autotune.studies import urls
from autotune.studies.errors import Unavailable
from autotune.studies.models import CurvePoint, Trial
from autotune.studies.records import Point, TrialState
from autotune.studies.spec import SearchSpec, parse
from autotune.studies.store import Store
from autotune.training.job import Job, Outcome, Report

STEPS, RUNGS = 270, (10, 30, 90, 270)
NAME = "load"


class Asleep:
    """An engine whose trials take so many seconds and learn nothing."""

    slots = 1

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._job: Job | None = None

    def submit(self, job: Job) -> None:
        """Take a job."""
        self._job = job

    def reports(self, timeout: float) -> list[Report]:
        """Sleep, and tell of the job's end."""
        job, self._job = self._job, None
        if job is None:
            return []
        time.sleep(self.seconds)
        rate = float(job.setting.hyper["lr"])
        points = tuple(
            Point(step=step, seconds=0.01 * step, loss=1 + abs(rate - 3e-3) + 1 / step)
            for step in job.evaluate
            if job.start < step <= job.stop
        )
        return [
            Report(
                trial=job.trial, attempt=job.attempt, outcome=Outcome.REACHED, step=job.stop,
                points=points, seconds=self.seconds,
            )
        ]  # fmt: skip

    def interrupt(self, trial: int | None = None) -> None:
        """Do nothing: what sleeps ends soon."""

    def kill(self, trial: int | None = None) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def spec_of(trials: int) -> SearchSpec:
    """Return a search of two optimizers by points that are quick to draw."""
    return parse(
        {
            "model": "gpt-nano", "name": NAME, "optimizers": ["adan", "adamw"],
            "budget": {"trials": trials}, "steps": STEPS, "sampler": "sobol",
        }
    )  # fmt: skip


def begin(store: Store, spec: SearchSpec) -> None:
    """Store the search, without a task behind it."""
    spaces = {name: space.as_data() for name, space in spaces_of(spec).items()}
    facts = {"model": spec.model, "steps": STEPS}
    store.create_search(NAME, spec.model_dump(mode="json"), facts, spaces, {})


def opened(store: Store, spec: SearchSpec) -> Opened:
    """Join the search."""
    search, spaces = store.search(NAME), spaces_of(spec)
    states = tuple(
        StudyState(
            study=study,
            space=spaces[study.optimizer],
            presets=presets_of(study.optimizer, spaces[study.optimizer]),
            policy=Policy.of(spec),
            ladder=Ladder(steps=RUNGS, first=RUNGS[0]),
        )
        for study in search.studies
    )
    found = store.changes(search.id)
    merge(states, found)
    return Opened(search=search, states=states, resumed=0, finished=False, revision=found.revision)


def _work(url: str, name: str, trials: int, seconds: float, folder: str) -> None:
    spec, halt = spec_of(trials), threading.Event()
    errors = []
    with Store(url) as store:
        loop = Loop(
            spec, store, opened(store, spec), lambda event: None, halt, Path(folder), worker=name
        )

        def outage(wait: float, why: str) -> bool:
            errors.append(why)
            return halt.wait(wait)

        store.retry.wait = outage
        try:
            loop.run(Asleep(seconds))
        except Unavailable as error:
            errors.append(str(error))
    sys.exit(min(len(errors), 100))


def crowd(url: str, workers: int, trials: int, seconds: float) -> None:
    """Let workers run a search together; print how fast, and how often the database was locked."""
    spec = spec_of(trials)
    with Store(url) as store:
        begin(store, spec)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["autotune.search.coordinator", "autotune.samplers.sobol", "scipy.stats"]
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = [(url, f"w{i}", trials, seconds, folder) for i in range(workers)]
        processes = [context.Process(target=_work, args=each) for each in arguments]
        began = time.monotonic()
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        took = time.monotonic() - began
    with Store(url) as store:
        ended = [
            trial
            for study in store.search(NAME).studies
            for trial in store.trials(study.id)
            if trial.state in {TrialState.COMPLETE, TrialState.STOPPED}
        ]
        stretches = sum(store.trial(trial.id).seconds for trial in ended) / seconds
        state = store.search(NAME).state
        store.delete_search(NAME)
    errors = sum(abs(process.exitcode or 0) for process in processes)
    print(  # noqa: T201  the result
        f"{workers} workers, trials of {seconds} s: {len(ended)} trials in {took:.1f} s, "
        f"{stretches / took:.1f} stretches a second, {errors} lock errors, {state}"
    )


def big(url: str, trials: int, points: int) -> None:
    """Fill a study and time what people and workers do with it."""
    spec = spec_of(2 * trials)
    with Store(url) as store:
        begin(store, spec)
        study = store.search(NAME).studies[0]
        _multiply(store, url, opened(store, spec), trials, points)
        found = opened(store, spec)
        loop = Loop(spec, store, found, lambda event: None, threading.Event(), Path("/nonexistent"))
        _say("list", store.searches)
        _say("show", lambda: comparison.load(store, NAME))
        _say("trials of a study", lambda: store.trials(study.id), 3)
        _say("join", lambda: opened(store, spec), 1)
        engine = Asleep(0.0)
        asked, recorded = [], []
        loop.tracker = BudgetTracker(
            states=loop.states, slots=1, elapsed=lambda: 0.0, overhead=lambda: 0.0
        )
        for _ in range(20):
            began = time.perf_counter()
            loop._fill(engine)
            asked.append(time.perf_counter() - began)
            (report,) = engine.reports(0.0)
            began = time.perf_counter()
            loop.recorder.take(report)
            recorded.append(time.perf_counter() - began)
        _tell("ask (decide and begin)", asked)
        _tell("record", recorded)
        store.delete_search(NAME)


def _multiply(store: Store, url: str, found: Opened, trials: int, points: int) -> None:
    """Copy a first trial of the first study, with other settings and losses."""
    state = found.states[0]
    study = state.study.id
    proposal = propose(state)
    first = store.add_trial(study, proposal)
    steps = [*RUNGS, *(10 * (i + 1) + 3 for i in range(points - len(RUNGS)))]
    engine = create_engine(url)
    with engine.begin() as connection:
        row = connection.execute(select(Trial.__table__).where(Trial.id == first.id)).one()
        copies = [
            {
                **row._asdict(), "id": first.id + i, "number": i, "seconds": 1.0,
                "state": "paused" if i % 3 else "complete", "step": 10 if i % 3 else 270,
                "loss": 1 + (i * 7919 % 10007) / 1e4,
            }
            for i in range(1, trials)
        ]  # fmt: skip
        connection.execute(insert(Trial), copies)
        rows = [
            {"trial_id": copy["id"], "step": step, "seconds": 0.0, "loss": copy["loss"] + 1 / step}
            for copy in copies
            for step in steps
            if step <= copy["step"] or step not in RUNGS
        ]
        connection.execute(insert(CurvePoint), rows)
        if connection.dialect.name == "postgresql":
            key = func.pg_get_serial_sequence("autotune_trials", "id")
            connection.execute(
                select(func.setval(key, select(func.max(Trial.id)).scalar_subquery()))
            )
    engine.dispose()


def _say(what: str, do: Callable[[], object], times: int = 5) -> None:
    _tell(what, list(_timed(do, times)))


def _timed(do: Callable[[], object], times: int) -> Iterator[float]:
    for _ in range(times):
        began = time.perf_counter()
        do()
        yield time.perf_counter() - began


def _tell(what: str, seconds: list[float]) -> None:
    median, worst = 1e3 * statistics.median(seconds), 1e3 * max(seconds)
    print(f"{what:24} {median:8.1f} ms, at most {worst:8.1f}")  # noqa: T201  the result


def main() -> None:
    """Print both measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "url", nargs="?", help="a database of its own; a temporary file if left out"
    )
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--trials", type=int, default=200, help="of each of two optimizers")
    parser.add_argument("--seconds", type=float, default=0.1, help="a stretch takes")
    parser.add_argument("--stored", type=int, default=10_000, help="trials of the big study")
    given = parser.parse_args()
    about = facts("cpu")
    print(f"{about['device']}, {about['date']}, commit {about['commit']}")  # noqa: T201  the result
    with tempfile.TemporaryDirectory() as folder:
        url = given.url or f"sqlite:///{folder}/load.db"
        with Store(url) as store:
            url = store.url
            kind = urls.mask(url).partition(":")[0]
            print(  # noqa: T201  likewise
                f"python benchmarks/load.py --workers {given.workers} --trials {given.trials} "
                f"--seconds {given.seconds} --stored {given.stored} [{kind}]"
            )
        big(url, given.stored, points=20)
        crowd(url, given.workers, given.trials, given.seconds)


if __name__ == "__main__":
    main()
