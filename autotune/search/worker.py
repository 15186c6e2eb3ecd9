"""A worker: joins a stored search from any machine that can reach its database."""

from __future__ import annotations

import os
import secrets
import shlex
import socket
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial

from autotune import environment
from autotune.devices import AUTO
from autotune.engines import from_spec
from autotune.engines.base import Engine
from autotune.errors import AlreadyThere, AutotuneError, SpecError
from autotune.search.asking import Asker
from autotune.search.coordinator import Loop
from autotune.search.device import check_kind, check_precision, computing
from autotune.search.events import Listener, Notice, ignore
from autotune.search.lock import exclusive, folder_of
from autotune.search.opening import Checked, checked, open_search
from autotune.search.renewal import TRIES
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Command, SearchRecord, SearchState, mixed
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.tasks import precision
from autotune.training.job import Job, Outcome, Report

EARLY = 30.0  # a failure within so many seconds is probably the machine's fault
FAILURES = 3  # early failures in a row that stop a worker


class TooManyFailures(AutotuneError):
    """The first trials of a worker all failed."""


def name() -> str:
    """Return a unique worker name: host, process and a random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a worker takes part.

    Args:
        name: Its name. If a worker restarts with the same name, its old trials are free at once.
        workers: Trials that run at the same time.
        engine: Where they run.
        per_gpu: Trials that run at the same time on each GPU.
        strict: Refuse to run with other versions than those of the search.
        device: As ``--device``; its kind has to be the search's.
        precision: As ``--precision``; it has to be the search's.
        mixed: Let the kind of device and the precision be others than the search's.
    """

    name: str = field(default_factory=name)
    workers: int = 1
    engine: str = "processes"
    per_gpu: int = 1
    strict: bool = False
    device: str = AUTO
    precision: str = precision.AUTO
    mixed: bool = False


def work(
    study: str,
    *,
    store: Store,
    terms: Terms | None = None,
    listen: Listener = ignore,
    halt: threading.Event | None = None,
) -> SearchRecord:
    """Run trials of a stored search until it is over or told to stop; return its record.

    Args:
        study: The search's name.
        store: Where it is stored.
        terms: How to take part.
        listen: Called with every event.
        halt: Set it to stop early: running steps are finished and saved, and others may go on.

    Raises:
        NotFound: There is no such search.
        SpecError: Its task, its versions or its kind of device differ from those here.
        TooManyFailures: The first trials here all failed.
    """
    terms, halt = terms or Terms(), halt or threading.Event()
    search = store.search(study)
    check_kind(search, terms.device, mixed=terms.mixed)
    check_precision(search, terms.precision, mixed=terms.mixed)
    _same_versions(search, listen, strict=terms.strict)
    while search.state is not SearchState.COMPLETE and not halt.is_set():
        command = store.changes(search.id, _NEVER).command
        if command is Command.STOP:
            raise SpecError(
                f"search '{study}' was told to stop; continue it with: "
                f"autotune tell {shlex.quote(study)} continue"
            )
        asked = _joined(search, store, terms, listen)
        store.take_up(search.id, store.failed(search.id, most=TRIES))
        with (
            closing(_engine(asked, terms)) as engine,
            closing(Mirror(store.url)) as mirror,
        ):
            if text := from_spec.notice(engine):
                listen(Notice(text=text))
            guard = Guard(engine, halt)
            loop = _loop(asked, store, listen, halt, mirror=mirror, worker=terms.name)
            loop.run(guard)
        with suppress(AlreadyThere), exclusive(loop.asker.folder, study):
            pass  # leaving it removes the folder if that is empty
        search = store.search(study)
        if guard.last_failure:
            raise TooManyFailures(
                f"the first {FAILURES} trials here failed, the last said: {guard.last_failure}; "
                "repair this machine and start the worker again"
            )
        if not loop.changed:
            break
    return search


_NEVER = 2**31 - 1  # a revision that no search reaches, to read only the state


def _joined(search: SearchRecord, store: Store, terms: Terms, listen: Listener) -> Checked:
    """Check a search that this process joins; note it if its losses are then mixed."""
    asked = checked(parse(dict(search.spec)), store, terms.engine, _otherwise(terms))
    kinds = [computing(search.task), computing(asked.facts)]
    if kinds[0] != kinds[1]:
        listen(Notice(text=mixed(store.mix_search(search.name, kinds).task)))
    return asked


def _otherwise(terms: Terms) -> dict[str, str] | None:
    """Return what a worker that may compute otherwise says of it, as keys of a spec."""
    if not terms.mixed:
        return None
    said = {} if terms.precision == precision.AUTO else {"precision": terms.precision}
    return {"device": terms.device.partition(":")[0], **said}  # an index is this process's


def _engine(asked: Checked, terms: Terms) -> Engine:
    own = {"engine": terms.engine, "workers": terms.workers, "per_gpu": terms.per_gpu}
    return from_spec.start(asked.spec.model_copy(update=own), asked.facts)


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
    asker = partial(Asker, asked.spec, store, opened, listen, halt, folder)
    return Loop(asker(mirror=mirror, worker=worker))


class Guard:
    """An engine that stops its worker if all its first trials fail."""

    def __init__(self, engine: Engine, halt: threading.Event) -> None:
        self.slots = engine.slots
        self.last_failure: str | None = None  # what the last failure said
        self._engine, self._halt = engine, halt
        self._began: dict[int, float] = {}
        self._failures = 0

    def submit(self, job: Job) -> None:
        """Start a job."""
        self._began[job.trial] = time.monotonic()
        self._engine.submit(job)

    def reports(self, timeout: float) -> list[Report]:
        """Return the reports and count failures."""
        found = self._engine.reports(timeout)
        for report in found:
            self._count(report)
        return found

    def _count(self, report: Report) -> None:
        if report.outcome not in {Outcome.LOST, Outcome.FAILED} or not report.blame:
            self._failures = 0
        elif time.monotonic() - self._began.get(report.trial, 0.0) < EARLY:
            self._failures += 1
        if self._failures >= FAILURES:
            self.last_failure = report.reason or report.outcome
            self._halt.set()

    def interrupt(self, trial: int | None = None) -> None:
        """Ask a trial's job, or every job, to save and stop."""
        self._engine.interrupt(trial)

    def kill(self, trial: int | None = None) -> None:
        """End the worker of a trial's job, or of every job, at once."""
        self._engine.kill(trial)

    def close(self) -> None:
        """End every worker."""
        self._engine.close()


def _same_versions(search: SearchRecord, listen: Listener, *, strict: bool) -> None:
    """Warn of other versions than those of the search: they may compute other losses."""
    names = [study.optimizer for study in search.studies]
    other = environment.differences(search.environment, environment.facts(optimizers=names))
    if not other:
        return
    sentence = f"search '{search.name}' was begun with {'; '.join(other)}"
    if strict:
        raise SpecError(f"{sentence}; install those versions or leave out --strict")
    listen(Notice(text=f"{sentence}; losses may differ, --strict refuses"))
