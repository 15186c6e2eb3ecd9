"""Remember searches as a whole: begin them, change what they are about, forget them."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from autotune.studies import attempts, names, retries
from autotune.studies.errors import AlreadyThere, NotFound
from autotune.studies.leases import Leases, touch
from autotune.studies.models import Base, Environment, Recommendation, Search, Study
from autotune.studies.records import SearchRecord, SearchState
from autotune.studies.retry import retried


class Searches(Leases):
    """The searches of a database."""

    def create_search(
        self,
        name: str,
        spec: Mapping[str, Any],
        task: Mapping[str, Any],
        optimizers: Mapping[str, Mapping[str, Any]],
        environment: Mapping[str, Any],
    ) -> SearchRecord:
        """Begin a search with one study for each optimizer and its space; raises AlreadyThere."""
        names.check(name)
        with self._database.writing() as connection:
            now = attempts.now(connection)
            facts = _environment(connection, environment, now)
            values = {
                "name": name,
                "spec": dict(spec),
                "task": dict(task),
                "environment_id": facts,
                "state": SearchState.RUNNING,
                "seconds": 0.0,
                "revision": 0,
                "created": now,
                "updated": now,
            }
            try:
                search_id = add(connection, Search, **values)
            except IntegrityError:
                raise self._taken(name) from None
            for optimizer, space in optimizers.items():
                add(connection, Study, search_id=search_id, optimizer=optimizer, space=dict(space))
        return self.search(name)

    @retried
    def update_search(
        self,
        name: str,
        *,
        state: SearchState | None = None,
        add_seconds: float = 0.0,
        spec: Mapping[str, Any] | None = None,
        space: Mapping[str, Mapping[str, Any]] | None = None,
        unless: SearchState | None = None,
    ) -> SearchRecord:
        """Change what is given; ``space`` maps optimizers to their new spaces.

        The state stays where it is ``unless`` by then.
        """
        attempts.finite("seconds", add_seconds)
        values: dict[str, Any] = {"seconds": Search.seconds + add_seconds}
        if state is not None:
            kept = (Search.state == unless, Search.state)
            values["state"] = case(kept, else_=state) if unless else state
        if spec is not None:
            values["spec"] = dict(spec)
        with self._database.writing() as connection:
            search_id = self._search_id(connection, name)
            touch(connection, Search.id == search_id)
            connection.execute(update(Search).where(Search.id == search_id).values(values))
            for optimizer, data in (space or {}).items():
                self._replace_space(connection, search_id, optimizer, data)
        return self.search(name)

    @retried
    def grow_search(
        self,
        name: str,
        spec: Mapping[str, Any],
        *,
        before: Mapping[str, Any],
        joined: Mapping[str, Mapping[str, Any]],
        widened: Mapping[str, Mapping[str, Any]],
    ) -> SearchRecord:
        """Give a search more optimizers and wider spaces, all in one change.

        A study whose space widens goes on, although its budget may be that of its recommendation.

        Args:
            name: Of the search.
            spec: Its new spec.
            before: Its spec when this was decided; raises AlreadyThere if it has changed since.
            joined: Spaces of optimizers that are new.
            widened: New spaces of those that it has.
        """
        with self._database.writing() as connection:
            search_id = self._search_id(connection, name)
            touch(connection, Search.id == search_id)
            known = connection.scalar(select(Search.spec).where(Search.id == search_id))
            # Where the change was made and only its answer was lost, nothing is left to do.
            if known != dict(spec):
                if known != dict(before):
                    said = f"search '{name}' was changed meanwhile; give the command again"
                    raise AlreadyThere(said)
                which = Search.id == search_id
                connection.execute(update(Search).where(which).values(spec=dict(spec)))
                for optimizer, space in joined.items():
                    values = {"search_id": search_id, "optimizer": optimizer, "space": dict(space)}
                    add(connection, Study, **values)
                for optimizer, space in widened.items():
                    self._replace_space(connection, search_id, optimizer, space)
                own = (Study.search_id == search_id, Study.optimizer.in_(widened))
                wider = select(Study.id).where(*own)
                retries.reopen(connection, Recommendation.study_id.in_(wider))
        return self.search(name)

    @retried
    def mix_search(self, name: str, kinds: Sequence[str]) -> SearchRecord:
        """Note as a fact of its task what kinds of computing a search's losses come from."""
        with self._database.writing() as connection:
            search_id = self._search_id(connection, name)
            which = Search.id == search_id
            task = dict(connection.execute(select(Search.task).where(which)).scalar_one())
            task["mixed"] = list(dict.fromkeys([*task.get("mixed", ()), *kinds]))
            touch(connection, which)
            connection.execute(update(Search).where(which).values(task=task))
        return self.search(name)

    def delete_search(self, name: str) -> None:
        """Forget a search and everything in it."""
        with self._database.writing() as connection:
            search_id = self._search_id(connection, name)
            for which in (Search.id.in_(self._stages(name)), Search.id == search_id):
                connection.execute(delete(Search).where(which))

    def _replace_space(
        self, connection: Connection, search_id: int, optimizer: str, space: Mapping[str, Any]
    ) -> None:
        which = (Study.search_id == search_id, Study.optimizer == optimizer)
        if not connection.execute(update(Study).where(*which).values(space=dict(space))).rowcount:
            name = connection.scalar(select(Search.name).where(Search.id == search_id))
            raise NotFound(f"no study {name}/{optimizer} in {self}")

    def _taken(self, name: str) -> AlreadyThere:
        return AlreadyThere(
            f"search '{name}' is already in {self}; continue it with --resume {shlex.quote(name)} "
            "or give another name with --search NAME"
        )

    def _search_id(self, connection: Connection, name: str) -> int:
        search_id = connection.scalar(select(Search.id).where(Search.name == name))
        if search_id is None:
            raise self._missing(connection, name)
        return search_id


def add(connection: Connection, table: type[Base], **values: Any) -> int:
    """Insert a row and return its key."""
    key = connection.execute(insert(table).values(**values).returning(table.__table__.c.id))
    return int(key.scalar_one())


def _environment(connection: Connection, facts: Mapping[str, Any], now: datetime) -> int:
    text = json.dumps(dict(facts), sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    known = connection.scalar(select(Environment.id).where(Environment.digest == digest))
    if known is not None:
        return known
    return add(connection, Environment, digest=digest, facts=json.loads(text), created=now)
