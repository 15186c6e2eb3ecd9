"""Files of trials' states: a service keeps their addresses and checksums, and reads none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from autotune.search.taken import Taken, identity

FOLDER = "autotune-states"  # in the working directory


class States:
    """States of the trials of one search, in a folder.

    Workers that share the folder go on with each other's trials.

    Args:
        folder: Where files are written.
        search: Name of the search.
    """

    def __init__(self, folder: Path, search: str) -> None:
        self._search, self._folder = search, folder / quote(search, safe=" ").strip(".")
        self._written: dict[tuple[str, int], Path] = {}  # the newest, by trial

    def save(self, taken: Taken, state: Mapping[str, Any], at: int) -> dict[str, Any]:
        """Write a state after ``at`` steps; return its address as the service is told it.

        An attempt has its own file: one that lost its lease spoils nothing.

        Raises:
            SpecError: It holds something else than tensors and plain values.
            OSError: It cannot be written.
        """
        from autotune.training import told_state

        job = taken.job
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{quote(job.optimizer)}-{job.trial}-{job.attempt}.pt"
        path = self._folder.absolute() / name
        found = told_state.save(path, state, at, identity(self._search, job))
        return {"uri": path.as_uri(), "step": at, "sha256": found}

    def load(self, taken: Taken) -> tuple[int, dict[str, Any]] | None:
        """Return the step and the state that a trial was saved with; None: it cannot be used."""
        from autotune.training import told_state

        job, path = taken.job, local(taken.job.resume)
        if path is None or not path.is_file():
            return None
        return told_state.load(path, job.start, identity(self._search, job), job.checksum)

    def keep(self, taken: Taken, uri: str | None) -> None:
        """Note which file is a trial's newest, and remove the one before, if it is in the folder.

        ``uri``: None where the trial needs none any more.
        """
        key, path = (taken.job.optimizer, taken.job.trial), local(uri)
        before = {self._written.pop(key, None), local(taken.job.resume)}
        for old in before - {path, None}:
            if old is not None and old.parent == self._folder.absolute():
                with suppress(OSError):
                    old.unlink(missing_ok=True)
        if path is not None:
            self._written[key] = path


def local(uri: str | None) -> Path | None:
    """Return the file of an address; None where it is none of this machine."""
    if uri is None:
        return None
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" and not parts.netloc else None
