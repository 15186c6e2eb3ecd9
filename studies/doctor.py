"""What is wrong with a database of searches, and what of it can be mended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, select, update

from autotune.studies import atomic, attempts
from autotune.studies.errors import StorageError
from autotune.studies.models import Attempt, Base, CurvePoint, Search, StepGradient, Study, Trial
from autotune.studies.records import TrialState
from autotune.studies.store import Store

CHECKPOINTS = "*.p*t*"  # states, and what a killed worker was writing
_FAMILIES = (
    (Study, Search),
    (Trial, Study),
    (Attempt, Trial),
    (CurvePoint, Trial),
    (StepGradient, Trial),
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong, said in a sentence."""

    kind: str
    search: str | None
    text: str
    mends: str | None  # what mending does; None where nothing can be done
    mended: bool = False


class Doctor:
    """Looks at a store and the folders of its checkpoints.

    Args:
        store: The store.
        folders: Where each search keeps its checkpoints, by name.
        fix: Mend what can be mended.
    """

    def __init__(self, store: Store, folders: dict[str, Path], *, fix: bool) -> None:
        self.store, self.folders, self.fix = store, folders, fix

    def examine(self) -> list[Finding]:
        """Return everything that is wrong, and what was mended."""
        found = [*self._schema(), *self._orphans(), *self._leases(), *self._zombies()]
        return [*found, *self._checkpoints()]

    def _schema(self) -> Iterator[Finding]:
        with self.store.reading() as connection:
            there = set(inspect(connection).get_table_names())
            damage = _damage(connection)
        for table in sorted(set(Base.metadata.tables) - there):
            yield Finding(kind="schema", search=None, text=f"table {table} is missing", mends=None)
        if damage:
            text = f"the file is damaged: {damage}; restore a copy"
            yield Finding(kind="schema", search=None, text=text, mends=None)

    def _orphans(self) -> Iterator[Finding]:
        """Find rows whose parent is gone: SQLite keeps no foreign keys unless it is told to."""
        for child, parent in _FAMILIES:
            table: Any = child.__table__
            key = next(iter(table.foreign_keys)).parent
            which = key.not_in(select(parent.__table__.c.id))
            with self.store.reading() as connection:
                number = len(connection.execute(select(key).where(which)).all())
            if number:
                text = f"{number} rows of {table.name} belong to nothing"
                yield self._mend("orphan", None, text, "deletes them", table.delete().where(which))

    def _leases(self) -> Iterator[Finding]:
        for search in self.store.searches():
            with self.store.reading() as connection:
                dead = attempts.expired(attempts.now(connection))
                query = _open_attempts(search.id).where(*dead)
                stale = connection.execute(query).all()
            for row in stale:
                text = f"trial {row.trial_id} is held by {row.worker}, not heard of since its lease"
                finding = Finding(
                    kind="lease", search=search.name, text=text,
                    mends="takes the trial back to where it was saved",
                )  # fmt: skip
                yield replace(finding, mended=self.fix)
            if stale and self.fix:
                self.store.reap(search.id)

    def _zombies(self) -> Iterator[Finding]:
        """Find trials that are called running but that nobody holds."""
        held = select(Attempt.trial_id).where(Attempt.ended.is_(None))
        zombie = (Trial.state == TrialState.RUNNING, Trial.id.not_in(held))
        with self.store.reading() as connection:
            rows = connection.execute(_NAMED.where(*zombie)).all()
        for row in rows:
            state = TrialState.PAUSED if row.step else TrialState.WAITING
            change = update(Trial).where(Trial.id == row.id, *zombie).values(state=state)
            text = f"trial {row.optimizer}/{row.number} is called running but nobody holds it"
            yield self._mend("zombie", row.name, text, f"calls it {state}", change)

    def _checkpoints(self) -> Iterator[Finding]:
        with self.store.reading() as connection:
            rows = connection.execute(_NAMED).all()
            held = set(connection.scalars(select(Attempt.trial_id).where(Attempt.ended.is_(None))))
        for name, folder in self.folders.items():
            known = {row.checkpoint: row for row in rows if row.name == name and row.checkpoint}
            for file, row in known.items():
                yield from self._file(folder / file, row)
            # What somebody runs may be writing right now.
            busy = {f"{row.study_id}-{row.number}-" for row in rows if row.id in held}
            for file in sorted(folder.glob(CHECKPOINTS)):
                if file.name not in known and not file.name.startswith(tuple(busy)):
                    yield self._stray(file, name)

    def _file(self, path: Path, row: Any) -> Iterator[Finding]:
        trial = f"trial {row.optimizer}/{row.number}"
        if not path.exists():
            problem = f"the checkpoint {path} of {trial} is not on this machine"
        elif row.checksum is not None and _checksum(path) != row.checksum:
            problem = f"the checkpoint {path} of {trial} is damaged"
        else:
            return
        forget = update(Trial).where(Trial.id == row.id, Trial.checkpoint == row.checkpoint)
        yield self._mend(
            "checkpoint", row.name, problem, "lets the trial take its steps again",
            forget.values(checkpoint=None, checksum=None),
        )  # fmt: skip

    def _stray(self, file: Path, search: str) -> Finding:
        if self.fix:
            file.unlink(missing_ok=True)
        text = f"the checkpoint {file} belongs to no trial that goes on"
        return Finding(
            kind="checkpoint", search=search, text=text, mends="deletes it", mended=self.fix
        )

    def _mend(self, kind: str, search: str | None, text: str, mends: str, change: Any) -> Finding:
        if self.fix:
            with self.store.writing() as connection:
                connection.execute(change)
        return Finding(kind=kind, search=search, text=text, mends=mends, mended=self.fix)


_NAMED = (
    select(
        Trial.id, Trial.study_id, Trial.number, Trial.step, Trial.checkpoint, Trial.checksum,
        Study.optimizer, Search.name,
    )
    .join(Study, Study.id == Trial.study_id)
    .join(Search, Search.id == Study.search_id)
)  # fmt: skip


def _open_attempts(search_id: int) -> Any:
    return (
        select(Attempt.trial_id, Attempt.worker)
        .join(Trial, Trial.id == Attempt.trial_id)
        .join(Study, Study.id == Trial.study_id)
        .where(Study.search_id == search_id)
    )


def _damage(connection: Connection) -> str | None:
    if connection.dialect.name != "sqlite":
        return None
    said: str = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    return None if said == "ok" else " ".join(said.split())


def _checksum(path: Path) -> str:
    try:
        return atomic.checksum(path)
    except OSError as error:
        raise StorageError(f"cannot read {path} ({error.strerror})") from None
