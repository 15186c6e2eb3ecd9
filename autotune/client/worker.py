"""A worker without the database: trains a search's own task, its trials asked of a service."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from autotune.client.seats import Seat
from autotune.client.states import FOLDER
from autotune.client.wire import Wire
from autotune.engines import from_spec
from autotune.engines.base import Engine
from autotune.errors import SpecError
from autotune.search.carried import task_arguments
from autotune.search.events import Listener, Notice, ignore
from autotune.search.facts import identity
from autotune.search.opening import prepare
from autotune.search.taken import Taken
from autotune.search.worker import FAILURES, Guard, Terms, TooManyFailures
from autotune.studies.spec import SearchSpec, parse
from autotune.tasks.function import expected
from autotune.tasks.precision import AUTO
from autotune.training.job import Outcome

POLL = 0.5  # seconds to wait for reports before trials are asked for again
HOLD = 2.0  # seconds that an ask may wait where nothing is trained; then it is looked who halts
QUICK = 0.1  # seconds that it may while something is
GRADIENTS = "gradients"  # among what a service can do, where it keeps what is measured of them
DONE = "complete"  # what the service calls a search that is over


def work(
    search: str,
    *,
    server: str,
    token: str | None = None,
    terms: Terms | None = None,
    listen: Listener = ignore,
    halt: threading.Event | None = None,
    states: str | os.PathLike[str] | None = None,
) -> bool:
    """Run trials of a search behind a service until it is over or told to stop.

    The model never comes from the service: this machine has its files, and the service refuses a
    worker whose files are not those that the search was begun with.

    Args:
        search: Its name.
        server: Address of the service, as ``http://host:8400``.
        token: What the service knows this worker by, if it asks for one.
        terms: How to take part.
        listen: Called with notices.
        halt: Set it to stop early: running steps are finished and saved, and others may go on.
        states: Folder of saved trials; None: ``autotune-states`` in the working directory.

    Returns:
        Whether the search is complete.

    Raises:
        AlreadyThere: Its task is another than the one here.
        NotFound: The service has no such search.
        SpecError: Its task cannot be trained here, or it has loops of its workers' own.
        TooManyFailures: The first trials here all failed.
        Unavailable: The service was away for too long.
    """
    terms, halt = terms or Terms(), halt or threading.Event()
    with closing(Wire(server, token)) as wire:
        path = f"/v1/searches/{quote(search, safe='')}"
        spec = _spec(dict(wire.call("GET", path).body), terms)
        _refuse_to_lose(spec, wire)
        facts = prepare(spec).facts
        own: dict[str, Any] = {
            "facts": identity(facts),
            "task": task_arguments(spec, facts),
            "content": expected(facts),
        }
        folder = Path(FOLDER if states is None else states)
        with ExitStack() as open_, closing(from_spec.start(spec, facts)) as engine:
            if text := from_spec.notice(engine):
                listen(Notice(text=text))
            guard = Guard(engine, halt)
            seats = [
                open_.enter_context(closing(Seat(wire, search, name, folder, **own)))
                for name in _names(terms.name, engine.slots)
            ]
            Crew(guard, seats, halt).run()
        if guard.last_failure:
            raise TooManyFailures(
                f"the first {FAILURES} trials here failed, the last said: {guard.last_failure}; "
                "repair this machine and start the worker again"
            )
        return dict(wire.call("GET", path).body).get("state") == DONE


def _spec(found: Mapping[str, Any], terms: Terms) -> SearchSpec:
    """Return the spec of a search as this worker runs it."""
    spec = parse(dict(found["spec"]))
    if spec.asked:
        raise SpecError(
            f"search '{found['name']}' is trained by loops of its workers' own, so 'autotune "
            "worker' cannot; ask for its trials with autotune.client"
        )
    own = {"engine": terms.engine, "workers": terms.workers, "per_gpu": terms.per_gpu}
    device = found["task"].get("device", "cpu") if terms.device == "auto" else terms.device
    precision = spec.precision if terms.precision == AUTO else terms.precision
    where = {"device": device, "precision": precision}
    return spec.model_copy(update={**own, **where, "step_timeout": None})


def _refuse_to_lose(spec: SearchSpec, wire: Wire) -> None:
    """Refuse a service that cannot keep what the search measures; raises SpecError."""
    if spec.measuring and GRADIENTS not in wire.call("GET", "/v1").body["capabilities"]:
        raise SpecError(
            f"search '{spec.search_name}' was begun with {spec.measuring}, and the service is of a "
            "version that keeps nothing of gradients; let it be updated, or join at the database "
            "with --storage"
        )


def _names(name: str, slots: int) -> list[str]:
    """Return the name of each place: what is asked for under a name ends what that name held."""
    return [name] if slots == 1 else [f"{name}.{place}" for place in range(slots)]


class Crew:
    """Drives an engine with the trials that its seats are given.

    Args:
        engine: Where trials run.
        seats: One for each job that runs at the same time.
        halt: Set to stop early.
    """

    def __init__(self, engine: Engine, seats: list[Seat], halt: threading.Event) -> None:
        self._engine, self._seats, self._halt = engine, seats, halt
        self._over = False
        self._halted = False  # whether running jobs were asked to save and stop

    def run(self) -> None:
        """Train until nothing is left, or until what runs was saved after ``halt``."""
        while self._busy() or not (self._over or self._halt.is_set()):
            self._fill()
            self._watch()
            for report in self._engine.reports(POLL if self._busy() else 0.0):
                seat = next((one for one in self._busy() if _runs(one, report.trial)), None)
                if seat is None:
                    continue
                if not seat.hear(report) and report.outcome is Outcome.PROGRESS:
                    self._engine.interrupt(report.trial)
                if report.misfit is not None:
                    raise SpecError(report.misfit)

    def _busy(self) -> list[Seat]:
        return [seat for seat in self._seats if seat.taken is not None]

    def _fill(self) -> None:
        """Ask for a trial for each free seat, until one is told to wait."""
        for seat in self._seats:
            if seat.taken is not None or self._over or self._halt.is_set():
                continue
            found = seat.ask(QUICK if self._busy() else HOLD)
            self._over = seat.over
            if not isinstance(found, Taken):
                return
            seat.taken = found
            self._engine.submit(found.job)

    def _watch(self) -> None:
        """Ask running jobs to save and stop where this process ends or a lease is over."""
        if self._halt.is_set() and not self._halted:
            self._halted = True
            self._engine.interrupt()
        for seat in self._busy():
            if seat.taken is not None and seat.taken.over:
                self._engine.interrupt(seat.taken.job.trial)


def _runs(seat: Seat, trial: int) -> bool:
    return seat.taken is not None and seat.taken.job.trial == trial
