"""The main loop: ask a search for jobs, run them in an engine, tell it the reports, to the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import closing, nullcontext
from functools import partial

from autotune.engines import from_spec
from autotune.engines.base import Engine
from autotune.results import comparison
from autotune.search import proxy
from autotune.search.asking import Asker
from autotune.search.events import Listener, Notice, ignore
from autotune.search.growth import tell
from autotune.search.lock import coordinator, exclusive, folder_of
from autotune.search.opening import Prepared, charged, open_search
from autotune.search.proxy import Fit
from autotune.search.quicker import quicker
from autotune.search.renewal import news, refuse_nothing, renewed
from autotune.search.taken import Over, Wait
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Command, SearchState
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store
from autotune.tasks.script import refuse_nested
from autotune.training.job import Job

POLL = 0.5  # seconds to wait for reports before the halt flag is checked
STEP_TIMEOUT = 30.0  # seconds that running steps get to end when the time is over


def run(
    spec: SearchSpec,
    *,
    store: Store,
    listen: Listener = ignore,
    halt: threading.Event | None = None,
    prepared: Prepared | None = None,
) -> comparison.Comparison:
    """Search until the budget is spent and return the comparison.

    A stored search with the same name and spec is continued, its failed trials are tried again; a
    finished one without any is only read.

    Args:
        spec: What to search, with what budget.
        store: Where everything is stored, as it happens.
        listen: Called with every event.
        halt: Set it to stop early: running steps are finished and saved, nothing new starts.
        prepared: What ``opening.prepare`` returned, if it was called before.

    Raises:
        AlreadyThere: The name belongs to a search with another spec.
        NothingUsable: No trial ended with a loss.
    """
    refuse_nested()
    from_spec.ready(spec)
    halt = halt or threading.Event()
    folder = folder_of(store.url, spec.search_name)
    with exclusive(folder, spec.search_name):
        worker = coordinator(store.url, folder)
        asked = renewed(spec, store, prepared)
        where = quicker(asked, listen, halt)
        asked = where.asked
        # An engine that refuses to start must leave nothing stored.
        starting = None if asked.finished else from_spec.start(spec, asked.facts)
        with nullcontext() if starting is None else closing(starting) as engine:
            if text := news(asked):
                listen(Notice(text=text))
            fit = Fit(asked=asked, seconds=where.seconds)
            if engine:
                fit = proxy.fit(asked, engine, listen, halt, spent=where.seconds)
            # The process that held the lock before is dead, so its leases end at once.
            opened = open_search(fit.asked, store, dead=worker, blame=False)
            if engine:
                if text := from_spec.notice(engine):
                    listen(Notice(text=text))
                store.tell(spec.search_name, Command.CONTINUE)  # an earlier pause or stop is over
                opened = charged(opened, store, fit.seconds)
                with closing(Mirror(store.url)) as mirror:
                    tell(asked.growth, spec.search_name, listen, mirror)
                    asker = partial(Asker, fit.asked.spec, store, opened, listen, halt, folder)
                    Loop(asker(mirror=mirror, worker=worker, fit=fit)).run(engine)
    found = comparison.load(store, spec.search_name)
    if found.search.state is SearchState.COMPLETE:
        trials = [trial for state in opened.states for trial in state.trials.values()]
        refuse_nothing(spec.search_name, trials)
    return found


class Loop:
    """Drives a search with an engine: submits the jobs it asks for, tells it the reports.

    Args:
        asker: The search.
    """

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.asked: float | None = None  # when running jobs were asked to save and stop
        self._over = False
        self._idle = 0.0  # seconds to wait where nothing runs

    @property
    def changed(self) -> bool:
        """Return whether the search goes on under another spec."""
        return self.asker.participant.changed

    def run(self, engine: Engine) -> None:
        """Run until nothing is left to start and nothing runs; closes the engine."""
        self.asker.begin(engine.slots)
        try:
            self._work(engine)
        except BaseException:
            self.asker.abandon()
            raise
        finally:
            engine.close()
        self.asker.end()

    def _work(self, engine: Engine) -> None:
        asker = self.asker
        while True:
            with asker.counted():
                self._interrupt(asker.beat(), engine)
                self._fill(engine)
            if self._over:
                return
            reports = engine.reports(POLL)
            with asker.counted():
                # Jobs that other processes took over are stopped.
                self._interrupt([r.trial for r in reports if not asker.tell(r)], engine)
                asker.look()
                self._watch(engine)
            asker.rest()
            if not asker.busy:
                self.asker.halt.wait(self._idle)

    def _interrupt(self, trials: Iterable[int], engine: Engine) -> None:
        for trial in trials:
            engine.interrupt(trial)

    def _fill(self, engine: Engine) -> None:
        """Start jobs on idle workers, until there is none to start or the search is over."""
        while isinstance(answer := self.asker.ask(engine.slots), Job):
            self.asked = None  # nobody asked this job to stop
            engine.submit(answer)
        self._over = isinstance(answer, Over)
        self._idle = answer.seconds if isinstance(answer, Wait) else 0.0

    def _watch(self, engine: Engine) -> None:
        """Ask running jobs to stop if there is a reason; kill workers that do not answer."""
        now = time.monotonic()
        if self.asker.why() is None:
            self.asked = None
        elif self.asked is None:
            self.asked = now
            engine.interrupt()
        elif self.asker.late() and now > self.asked + STEP_TIMEOUT:
            engine.kill()
