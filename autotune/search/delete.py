"""Delete a search from the database and the disk, while its lock stops others from running it."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from autotune.errors import AlreadyThere, SpecError
from autotune.search.lock import COORDINATOR, exclusive, folder_of
from autotune.search.stored import opened, split
from autotune.studies import urls, validations
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import SearchRecord, SearchState
from autotune.studies.store import Store
from autotune.tasks.command_training import FOLDER


@contextmanager
def held(storage: str | None, text: str) -> Iterator[SearchRecord]:
    """Yield a search that nobody runs or can start to run; raises AlreadyThere."""
    name, optimizer = split(text)
    if optimizer:
        raise SpecError(
            f"a search is deleted whole, got '{text}'; name it alone: {shlex.quote(name)}"
        )
    with opened(storage) as store:
        store.search(name)  # raises NotFound before a lock file is made
        with exclusive(folder_of(store.url, name), name):
            refuse_workers(store, name)
            yield store.search(name)


def refuse_workers(store: Store, name: str) -> None:
    """Refuse a search that workers run: these have leases, not the lock; raises AlreadyThere."""
    workers = store.holders(store.search(name).id)[0] - {COORDINATOR}
    if workers:
        raise AlreadyThere(
            f"search '{name}' is being run by {', '.join(sorted(workers))}; "
            f"stop it with: autotune tell {shlex.quote(name)} stop"
        )


def described(storage: str | None, search: SearchRecord) -> str:
    """Return in words what would be deleted."""
    url = urls.resolve(storage)
    trials = sum(sum(study.counts.values()) + study.added for study in search.studies)
    counted = _count(trials, "trial")
    files = _checkpoints(url, search)
    if files:
        size = sum(file.stat().st_size for file in files)
        counted += f" and {_count(len(files), 'checkpoint')} ({size / 1e6:.1f} MB)"
    logs = len(list(_commands(url, search).glob("*.log")))
    if logs:
        counted += f" and {_count(logs, 'log')}"
    elsewhere = search.state is SearchState.RUNNING and urls.file(url) is None
    marked = ", perhaps running on another machine," if elsewhere else ""
    return f"search '{search.name}'{marked} with {counted} from {urls.mask(url)}"


def delete(storage: str | None, search: SearchRecord) -> None:
    """Delete Optuna's copy, then checkpoints, then rows: if it fails, it can be repeated."""
    url = urls.resolve(storage)
    with closing(Mirror(url)) as mirror:
        for study in search.studies:
            mirror.forget(f"{search.name}/{study.optimizer}")
    with Store(url) as store:
        for each in (search, *(one.stage for one in validations.of(store, search.id))):
            for file in _checkpoints(url, each):
                file.unlink(missing_ok=True)
            shutil.rmtree(_commands(url, each), ignore_errors=True)
        store.delete_search(search.name)


def _checkpoints(url: str, search: SearchRecord) -> list[Path]:
    """Return a search's checkpoints, and files that a killed worker left."""
    return list(folder_of(url, search.name).glob("*.p*t*"))


def _commands(url: str, search: SearchRecord) -> Path:
    """Return the folder of what a search's commands printed."""
    return folder_of(url, search.name) / FOLDER


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
