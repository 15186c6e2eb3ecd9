"""Many workers of the service, killed with its servers; and what must hold of a search after it."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sqlalchemy import select

from autotune.client import Client
from autotune.pruners.ladder import rungs_of
from autotune.search import declaring, telling
from autotune.search.remote import Ended, Remote, Spent, Waits, reopened
from autotune.seeds import training
from autotune.studies import remote
from autotune.studies.models import Attempt, Trial
from autotune.studies.records import Asked, Point, Role, SearchState, TrialRecord, TrialState
from autotune.studies.store import Store
from autotune.testing.remote import loss_of
from autotune.testing.victims import context, kill, served, serving

ENDED = (TrialState.COMPLETE, TrialState.STOPPED)
REACHED = frozenset({TrialState.COMPLETE, TrialState.PAUSED})


def body(trials: int, steps: int = 9, pruner: str = "none") -> dict[str, Any]:
    """Return a search whose trials are the same in whatever order workers end them.

    Args:
        trials: Settings to try.
        steps: Of a full run, which is trained in one go if they are three.
        pruner: One that judges each trial by its own losses alone.
    """
    return {
        "task": {"external": {"model": "bowl", "steps": steps}},
        "optimizers": ["adamw"],
        "budget": {"trials": trials},
        "seeds": 2,
        "sampler": "sobol",
        "pruner": pruner,
    }


@dataclass(kw_only=True)
class Crowd:
    """Servers on one database, and clients that train trials of a search through them.

    Args:
        url: The database.
        search: Name of the search.
        ports: Where servers listen, one each; 0 takes a free one.
        clients: How many there are; each has one server's address.
        trains: Seconds that a client trains a stretch, about.
        folder: For errors and states.
        pauses: Whether clients can go on with a trial later; else rungs end or go on with it.
    """

    url: str
    search: str
    ports: tuple[int, ...]
    clients: int
    trains: float
    folder: Path
    pauses: bool = True
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    killed: Counter[str] = field(default_factory=Counter)
    servers: list[BaseProcess] = field(default_factory=list)
    working: dict[str, BaseProcess] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start the servers."""
        log = self.folder / "server.log"
        begun = [
            (serving(self.url, port, log), port) if port else served(self.url, log)
            for port in self.ports
        ]
        self.servers = [process for process, _ in begun]
        self.ports = tuple(port for _, port in begun)

    def begin(self, given: Mapping[str, Any]) -> None:
        """Begin the search and start the clients."""
        with Client(self._address(0), states=self.folder) as client:
            client.begin(self.search, given)
        for number in range(self.clients):
            self._start(f"c{number}")

    def kill_a_server(self) -> None:
        """End a server as SIGKILL does and start it again."""
        place = self.chance.randrange(len(self.servers))
        kill(self.servers[place])
        self.servers[place] = serving(self.url, self.ports[place], self.folder / "server.log")
        self.killed["servers"] += 1

    def kill_a_client(self) -> None:
        """End a client likewise; it comes back under its name, or another takes its place."""
        alive = [name for name, process in self.working.items() if process.is_alive()]
        if not alive:
            return
        name = self.chance.choice(alive)
        kill(self.working.pop(name))
        self.killed["clients"] += 1
        self._start(name if self.chance.random() < 0.5 else f"{name}x")

    def over(self) -> bool:
        """Return whether every client has ended; raises AssertionError where one has failed."""
        log = self.folder / "client.log"
        if log.exists():
            raise AssertionError(log.read_text(encoding="utf-8"))
        return not any(process.is_alive() for process in self.working.values())

    def end(self) -> None:
        """End what is left of it."""
        for process in (*self.working.values(), *self.servers):
            kill(process)

    def _start(self, name: str) -> None:
        address = self._address(int(name.strip("cx")) % len(self.ports))
        given = (address, self.search, name, self.trains, self.folder, self.pauses)
        process = context().Process(target=_train, args=given, daemon=True)
        process.start()
        self.working[name] = process

    def _address(self, place: int) -> str:
        return f"http://127.0.0.1:{self.ports[place]}"


def _train(  # what a process is started with
    address: str, search: str, name: str, trains: float, folder: Path, pauses: bool
) -> None:
    chance = random.Random(name)
    try:
        with Client(address, states=folder / "states") as client:
            for trial in client.trials(search, name, can_pause=pauses):
                time.sleep(trains * chance.uniform(0.5, 1.5))
                for step in trial.evaluate:
                    if not trial.report(step, loss_of(trial.hyper, trial.seed, step)):
                        break
    except BaseException as error:
        with (folder / "client.log").open("a", encoding="utf-8") as log:
            log.write(f"{name}: {type(error).__name__}: {error}\n")
        raise


def alone(url: str, search: str, given: Mapping[str, Any], *, pauses: bool = True) -> None:
    """Begin a search and train its trials one after the other, by one worker without a server."""
    own = {key: value for key, value in given.items() if key != "task"}
    with Store(url) as store:
        declaring.begin(declaring.spec_of(given["task"], own, search), store)
        known, number = reopened(store.search(search), store, lambda event: None, "alone"), 0
        while not isinstance(found := _ask(known, f"{number}", pauses), Ended):
            number += 1
            if isinstance(found, Waits) or not isinstance(found, list):
                raise AssertionError(f"one worker alone was told {found}")
            for held in found:
                _train_alone(known, held)


def _ask(known: Remote, request: str, pauses: bool) -> list[remote.Lease] | Waits | Ended | Spent:
    return known.ask(Asked(worker="w", request=request, pauses=pauses), 1)


def _train_alone(known: Remote, held: remote.Lease) -> None:
    """Train a lease to its end, or to the rung at which it is told to stop."""
    for step in telling.evaluate(held):
        with remote.telling(known.store, held.trial.id, held.attempt) as told:
            losses = telling.add(told, [_point(held, step)])
        if telling.undecided(told.lease, losses):
            known.goes_on(told.lease)
        lease = remote.lease_of(known.store, held.trial.id, held.attempt)
        if telling.order(lease, losses) is not telling.Order.CONTINUE:
            break
    with remote.telling(known.store, held.trial.id, held.attempt) as told:
        telling.end(told, telling.End(outcome=telling.Told.REACHED))


def _point(held: remote.Lease, step: int) -> Point:
    seed = training(int(held.spec["seed"]), held.trial.seed)
    return Point(step=step, seconds=1.0, loss=loss_of(held.trial.setting.hyper, seed, step))


def tally(url: str, search: str) -> dict[str, list[str]]:
    """Return what went wrong in a search that is over: what was lost, doubled or overspent."""
    with Store(url, read_only=True) as store:
        found = store.search(search)
        wrong: dict[str, list[str]] = {"lost": [], "doubled": [], "overspent": []}
        if found.state is not SearchState.COMPLETE:
            wrong["lost"].append(f"the search is {found.state}")
        wrong["lost"] += [f"{held} is held" for held in store.changes(found.id).held.values()]
        budget, seed = int(found.spec["budget"]["trials"]), int(found.spec["seed"])
        steps = rungs_of(found.task).steps
        for study in found.studies:
            trials, curves = store.trials(study.id), store.curves(study.id)
            if [trial.number for trial in trials] != list(range(len(trials))):
                wrong["lost"].append(f"{study.optimizer} has gaps in its numbers")
            for trial in trials:
                curve = {p.step: p.loss for p in curves.get(trial.id, ())}
                if problem := _lost(trial, curve, steps, seed):
                    wrong["lost"].append(problem)
            wrong["doubled"] += _doubled(store, study.id, trials)
            tried = sum(trial.role is Role.SEARCH for trial in trials)
            if tried != budget:
                wrong["overspent"].append(f"{study.optimizer} tried {tried} of {budget} settings")
            if (store.recommendation(study.id) or {}).get("source") is None:
                wrong["lost"].append(f"{study.optimizer} recommends nothing")
    return wrong


def _lost(
    trial: TrialRecord, curve: Mapping[int, float | None], steps: tuple[int, ...], seed: int
) -> str:
    """Return how a trial is not what its worker measured; an empty text where it is."""
    if trial.state not in ENDED:
        return f"trial {trial.number} is {trial.state}: {trial.reason}"
    own = training(seed, trial.seed)
    due = {step: loss_of(trial.setting.hyper, own, step) for step in steps if step <= trial.step}
    if curve != due or trial.loss != due[trial.step]:
        return f"trial {trial.number} holds {curve}, {trial.loss}; its worker measured {due}"
    return ""


def _doubled(store: Store, study: int, trials: list[TrialRecord]) -> list[str]:
    """Return which trials were run or ended more than once."""
    again = Counter((t.role, t.source, t.seed) for t in trials if t.role is not Role.SEARCH)
    wrong = [f"{what} ran {count} times" for what, count in again.items() if count > 1]
    settings = Counter(str(t.setting.hyper) for t in trials if t.role is Role.SEARCH)
    wrong += [f"{setting} was tried twice" for setting, count in settings.items() if count > 1]
    ends = select(Attempt.trial_id, Attempt.stop).join(Trial).where(Trial.study_id == study)
    with store.reading() as connection:
        rows = connection.execute(ends.where(Attempt.outcome.in_(REACHED))).all()
    stretches = Counter((row.trial_id, row.stop) for row in rows)
    return wrong + [f"{what} was ended {n} times" for what, n in stretches.items() if n > 1]


def recommended(url: str, search: str) -> list[Any]:
    """Return what a search recommends for each optimizer, and the trials that say so."""
    with Store(url, read_only=True) as store:
        return [
            (
                (store.recommendation(study.id) or {}).get("source"),
                sorted(
                    (t.role, t.source or 0, t.seed, str(t.setting.hyper), t.loss)
                    for t in store.trials(study.id)
                    if t.role is not Role.SEARCH
                ),
            )
            for study in store.search(search).studies
        ]
