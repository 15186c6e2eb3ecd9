"""Read a study of Optuna, from its database or its journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.errors import NotFound, SpecError
from autotune.importing.base import Runs, Sorting
from autotune.registry import unknown

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

DATABASE = b"SQLite format 3\x00"
JOURNAL = b'{"op_code"'


def is_study(source: str) -> bool:
    """Return whether a source is a database's URL, a database file or a journal of Optuna."""
    return "://" in source or _begins(source, DATABASE) or _begins(source, JOURNAL)


def read(source: str, study: str | None) -> Runs:
    """Return the trials of a study.

    Args:
        source: URL of a database, the path of SQLite's file, or the path of a journal.
        study: Its name; None where the source has one study only.

    Raises:
        NotFound: The source has no study, or none of that name.
        SpecError: It is no storage of Optuna's, several studies could be meant, or the study has
            several objectives.
    """
    import optuna

    with _storage(source) as storage:
        names = sorted(one.study_name for one in storage.get_all_studies())
        name = _chosen(names, study, source)
        loaded = optuna.load_study(study_name=name, storage=storage)
        maximize, trials = _maximizes(loaded), loaded.get_trials(deepcopy=False)
    sorting = Sorting()
    for trial in trials:
        why = _unusable(trial)
        if why:
            sorting.left_out[why] += 1
        else:
            sorting.take(f"optuna {name} trial {trial.number}", trial.params, trial.value)
    return Runs(
        source=f"study '{name}' of Optuna",
        found=sorting.found,
        left_out=sorting.left_out,
        maximize=maximize,
    )


def _begins(source: str, head: bytes) -> bool:
    path = Path(source)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(head)) == head


@contextmanager
def _storage(source: str) -> Iterator[BaseStorage]:
    """Give a storage of Optuna's; its connections are closed at the end."""
    from optuna.exceptions import StorageInternalError
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.exc import SQLAlchemyError

    if _begins(source, JOURNAL):
        try:
            storage = JournalStorage(JournalFileBackend(source))
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise SpecError(f"{source} cannot be read as a journal of Optuna ({why})") from None
        yield storage
        return
    url = source if "://" in source else f"sqlite:///{source}"
    _check_there(url)
    try:
        # Tables that are missing are not made: the database may be another program's.
        database = RDBStorage(url, skip_table_creation=True)
    except (StorageInternalError, SQLAlchemyError, ImportError, RuntimeError) as error:
        why = str(error.__cause__ or error).splitlines()[0]
        raise SpecError(
            f"{_masked(source)} cannot be read as a storage of Optuna ({why})"
        ) from None
    try:
        yield database
    finally:
        database.remove_session()
        database.engine.dispose()


def _check_there(url: str) -> None:
    """Refuse a file of SQLite's that is not there: opening it would make it."""
    file = url.removeprefix("sqlite:///").partition("?")[0]
    if url.startswith("sqlite:///") and not Path(file).is_file():
        raise NotFound(f"no database at {file}")


def _masked(source: str) -> str:
    from autotune.studies import urls

    return urls.mask(source) if "://" in source else source


def _chosen(names: Sequence[str], asked: str | None, source: str) -> str:
    if asked is not None:
        if asked not in names:
            raise NotFound(f"{_masked(source)}: {unknown('study', asked, names)}")
        return asked
    if len(names) == 1:
        return names[0]
    if not names:
        raise NotFound(f"{_masked(source)} has no study of Optuna")
    raise SpecError(
        f"{_masked(source)} has {len(names)} studies; name one with --study: {', '.join(names)}"
    )


def _maximizes(study: Study) -> bool:
    directions: list[Any] = study.directions
    if len(directions) > 1:
        raise SpecError(
            f"study '{study.study_name}' has {len(directions)} objectives, and settings are ranked "
            "by one number; import a study with one"
        )
    return bool(directions[0].name == "MAXIMIZE")


def _unusable(trial: FrozenTrial) -> str | None:
    """Return why a trial does not count."""
    if trial.state.name != "COMPLETE":
        return {"PRUNED": "pruned", "FAIL": "failed"}.get(trial.state.name, "not ended")
    infeasible = any(value > 0 for value in (trial.constraints or {}).values())
    return "infeasible" if infeasible else None
