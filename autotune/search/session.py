"""One call that searches: what ``autotune search`` and ``autotune.tune`` do with a spec."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from autotune import devices
from autotune.engines import from_spec
from autotune.errors import NotFound
from autotune.results.comparison import Comparison
from autotune.search import coordinator
from autotune.search.events import Listener
from autotune.search.opening import Prepared, prepare
from autotune.search.stored import there
from autotune.studies import urls
from autotune.studies.records import SearchState
from autotune.studies.spec import SearchSpec
from autotune.studies.store import Store
from autotune.tasks.rehearsal import refuse_percent
from autotune.tasks.script import refuse_nested


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a search ended.

    Args:
        comparison: What was found; None where it was aborted.
        saved: Trials that are stored, where the search was interrupted; None where it is complete.
    """

    comparison: Comparison | None
    saved: int | None = None

    def interrupted(self, following: str) -> str:
        """Say what is saved, and how to go on where there is something to go on with."""
        if not self.saved:
            return "interrupted: no trial had begun"
        trials = "1 trial is" if self.saved == 1 else f"{self.saved} trials are"
        return f"interrupted: {trials} saved; {following}"


def run(spec: SearchSpec, storage: str | None, *, listen: Listener, halt: threading.Event) -> Ended:
    """Search to the end or until ``halt`` is set; a second Ctrl-C aborts.

    Raises:
        AutotuneError: As ``coordinator.run``, and where the storage cannot be opened.
    """
    refuse_nested()
    with devices.only(spec.device) as device:
        return _run(spec.model_copy(update={"device": device}), storage, listen=listen, halt=halt)


def _run(
    spec: SearchSpec, storage: str | None, *, listen: Listener, halt: threading.Event
) -> Ended:
    prepared = _first_look(spec, storage)
    with Store(urls.resolve(storage)) as store:
        try:
            found = coordinator.run(spec, store=store, listen=listen, halt=halt, prepared=prepared)
        except KeyboardInterrupt:
            return Ended(comparison=None, saved=_saved(store, spec.search_name))
        if found.search.state is SearchState.COMPLETE:
            return Ended(comparison=found)
        return Ended(comparison=found, saved=_saved(store, spec.search_name))


def _first_look(spec: SearchSpec, storage: str | None) -> Prepared | None:
    """Look at the task where there is no database yet: what is refused must not leave one."""
    if there(storage):
        return None
    prepared = prepare(spec)
    refuse_percent(spec.model, prepared.measured)
    from_spec.ready(spec)
    return prepared


def _saved(store: Store, name: str) -> int:
    try:
        studies = store.search(name).studies
    except NotFound:
        return 0
    return sum(sum(study.counts.values()) for study in studies)
