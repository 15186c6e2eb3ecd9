"""The searches of a database for ``autotune list``, as values and as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from autotune.cli.views import format
from autotune.cli.views.table import table
from autotune.errors import NotFound
from autotune.results.comparison import load
from autotune.search.status import current
from autotune.search.stored import opened, resumable
from autotune.studies.records import SearchRecord, SearchState, mixed
from autotune.studies.store import Store

HEADER = ("name", "model", "optimizers", "trials", "lowest loss", "state", "last activity")


def searches(storage: str | None) -> dict[str, Any]:
    """Return the searches, newest first, the judged best of each, and how to go on with them."""
    try:
        with opened(storage) as store:
            found = [current(each, store) for each in store.searches()]
            judged = {each.name: best for each in found if (best := _judged(each, store))}
    except NotFound:  # a missing or an empty database has no searches
        found, judged = [], {}
    return {"searches": found, "judged": judged, "resume": resumable(found, storage)}


def text(content: Mapping[str, Any]) -> str:
    """Write each search on a line."""
    judged = content["judged"]
    return table([HEADER, *(_row(each, judged.get(each.name)) for each in content["searches"])])


def hint(content: Mapping[str, Any]) -> str:
    """Say how to go on with each interrupted search; empty if there is none."""
    commands = content["resume"]
    return "\n".join(f"{name} was interrupted; go on with: {commands[name]}" for name in commands)


def _judged(search: SearchRecord, store: Store) -> dict[str, Any] | None:
    """Return the optimizer with the lowest mean on fresh seeds, once the search is complete."""
    if search.state is not SearchState.COMPLETE:
        return None
    best = load(store, search.name).rows[0]
    if best.tuned.loss is None or best.tuned.failures:
        return None
    return {"optimizer": best.optimizer, "loss": best.tuned.loss}


def _row(search: SearchRecord, judged: Mapping[str, Any] | None) -> tuple[str, ...]:
    counts: Counter[str] = Counter()
    for study in search.studies:
        counts.update(study.counts)
    return (
        search.name,
        str(search.task.get("model", format.NONE)),
        " ".join(study.optimizer for study in search.studies),
        format.counts(counts),
        _lowest(search, judged),
        search.state,
        format.moment(search.updated),
    )


def _lowest(search: SearchRecord, judged: Mapping[str, Any] | None) -> str:
    """Write a loss and its seeds: on the seed of the search, the picked setting looks too good."""
    among = ", mixed devices" if mixed(search.task) else ""
    if judged:
        return f"{judged['loss']} {judged['optimizer']} (judged{among})"
    bests = [(study.best, study.optimizer) for study in search.studies if study.best is not None]
    if not bests:
        return format.NONE
    loss, optimizer = min(bests)
    return f"{format.loss(loss)} {optimizer} (search seed{among})"
