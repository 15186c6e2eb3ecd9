"""A worker: joins a search that is stored, on any machine that reaches its database."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field

from autotune import environment
from autotune.engines.base import Backend
from autotune.errors import AlreadyThere, AutotuneError, SpecError
from autotune.registry import load
from autotune.search.coordinator import Loop
from autotune.search.events import Listener, Notice, ignore
from autotune.search.lock import folder_of, sitting
from autotune.search.opening import Checked, checked, open_search
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Command, SearchRecord, SearchState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.training.job import Job, Outcome, Report

EARLY = 30.0  # seconds within which a failure speaks against the machine
FAILURES = 3  # of them in a row, before a worker stops


class Flapping(AutotuneError):
    """Nothing that a worker begins comes to anything."""


def name() -> str:
    """Return a worker's name: where it runs, and a part that no other has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a worker takes part.

    Args:
        name: One to come back under: what it ran before is taken back at once.
        workers: Trials side by side.
        engine: Where they run.
        strict: Refuse to run with other versions than the search was begun with.
    """

    name: str = field(default_factory=name)
    workers: int = 1
    engine: str = "processes"
    strict: bool = False


def work(
    study: str,
    *,
    store: Store,
    terms: Terms | None = None,
    listen: Listener = ignore,
    halt: threading.Event | None = None,
) -> SearchRecord:
    """Run trials of a stored search until it is over or told to stop; return how it stands.

    Args:
        study: The search's name.
        store: Where it is kept.
        terms: How to take part.
        listen: Told every event.
        halt: Set it to stop early: running steps are finished, saved and handed back.

    Raises:
        NotFound: There is no such search.
        SpecError: Its task or its versions are not those of this machine.
        Flapping: The first trials here failed, one after another.
    """
    terms, halt = terms or Terms(), halt or threading.Event()
    search = store.search(study)
    _same_versions(search, listen, strict=terms.strict)
    while search.state is not SearchState.COMPLETE and not halt.is_set():
        command = store.changes(search.id, _NEVER).command
        if command is Command.STOP:
            raise SpecError(
                f"search '{study}' was told to stop; let it go on with: "
                f"autotune tell {study} continue"
            )
        asked = checked(parse(dict(search.spec)), store, terms.engine)
        with (
            closing(load("autotune.engines", terms.engine)(workers=terms.workers)) as engine,
            closing(Mirror(store.url)) as mirror,
        ):
            guard = Guard(engine, halt)
            loop = _loop(asked, store, listen, halt, mirror=mirror, worker=terms.name)
            loop.run(guard)
        with suppress(AlreadyThere), sitting(loop.folder, study):
            pass  # which removes the folder where nothing is left in it
        search = store.search(study)
        if guard.flapping:
            raise Flapping(
                f"the first {FAILURES} trials here failed, the last said: {guard.flapping}; "
                "mend this machine and start the worker again"
            )
        if not loop.share.changed:
            break
    return search


_NEVER = 2**31 - 1  # no search gets to this revision: only its state is asked for


def _loop(
    asked: Checked,
    store: Store,
    listen: Listener,
    halt: threading.Event,
    *,
    mirror: Mirror,
    worker: str,
) -> Loop:
    opened = open_search(asked, store, dead=worker)
    folder = folder_of(store.url, opened.search.name)
    return Loop(asked.spec, store, opened, listen, halt, folder, mirror=mirror, worker=worker)


class Guard:
    """A backend that stops its worker when nothing it begins comes to anything."""

    def __init__(self, backend: Backend, halt: threading.Event) -> None:
        self.slots = backend.slots
        self.flapping: str | None = None  # what the last failure said
        self._backend, self._halt = backend, halt
        self._began: dict[int, float] = {}
        self._failures = 0

    def submit(self, job: Job) -> None:
        """Start a job."""
        self._began[job.trial] = time.monotonic()
        self._backend.submit(job)

    def reports(self, timeout: float) -> list[Report]:
        """Return what was reported, having counted failures."""
        found = self._backend.reports(timeout)
        for report in found:
            self._count(report)
        return found

    def _count(self, report: Report) -> None:
        if report.outcome not in {Outcome.LOST, Outcome.FAILED}:
            self._failures = 0
        elif time.monotonic() - self._began.get(report.trial, 0.0) < EARLY:
            self._failures += 1
        if self._failures >= FAILURES:
            self.flapping = report.reason or report.outcome
            self._halt.set()

    def interrupt(self, trial: int | None = None) -> None:
        """Ask a trial's job, or every job, to save and stop."""
        self._backend.interrupt(trial)

    def kill(self, trial: int | None = None) -> None:
        """End the worker of a trial's job, or of every job, at once."""
        self._backend.kill(trial)

    def close(self) -> None:
        """End every worker."""
        self._backend.close()


def _same_versions(search: SearchRecord, listen: Listener, *, strict: bool) -> None:
    """Warn of other code than the search was begun with, which may compute other losses."""
    other = environment.differences(search.environment, environment.facts())
    if not other:
        return
    sentence = f"search '{search.name}' was begun with {'; '.join(other)}"
    if strict:
        raise SpecError(f"{sentence}; install those versions or leave out --strict")
    listen(Notice(text=f"{sentence}; losses may differ, --strict refuses"))
