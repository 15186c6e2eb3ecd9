"""Runs of other tools as settings that a new search tries first.

``read`` takes a study of Optuna, a table of W&B's, an experiment of Ray Tune, or what
``autotune export --top N --as json`` wrote. Their losses are of another task or length, so they
rank the settings among themselves and go no further.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune import optimizers, registry
from autotune.errors import MissingExtra, NotFound, NothingUsable, SpecError, UnknownName
from autotune.importing import checks, names, optuna, ray, table
from autotune.importing.base import Run, Runs
from autotune.studies import earlier

__all__ = ["Imported", "Reading", "read", "written"]

TOP = 5  # settings that are taken where nothing else is asked


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the runs of another tool are to be understood.

    Args:
        optimizer: Which optimizer they are of; None where each run says it.
        study: Name of a study of Optuna.
        metric: What runs of a table or of Ray are ranked by.
        maximize: Whether more of it is better.
        mapping: Our words for names there.
        ignore: Names there that are no parameter of the optimizer.
        constants: What all runs had in common without saying it, by our words.
        top: How many settings to take, the best first.
    """

    optimizer: str | None = None
    study: str | None = None
    metric: str | None = None
    maximize: bool = False
    mapping: Mapping[str, str] = field(default_factory=dict)
    ignore: Sequence[str] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)
    top: int = TOP


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The best settings of a source, as a spec's ``try_first`` takes them.

    Args:
        source: What they were read from, in words.
        settings: Entries of a spec, the best first.
        runs: How many runs could be ranked.
        left_out: How many could not, by why.
        unread: Columns of these settings' runs that mean nothing here.
        unsaid: Arguments that no run says: the optimizer's defaults are taken.
    """

    source: str
    settings: Sequence[Mapping[str, Any]]
    runs: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    unread: Sequence[str] = ()
    unsaid: Sequence[str] = ()


def read(source: str, how: Reading | None = None) -> Imported:
    """Return the best distinct settings of another tool's runs.

    Args:
        source: A database's URL, or the path of a database, a journal, a CSV, a folder or a file
            of ours.
        how: How its runs are to be understood.

    Raises:
        NotFound: The source or the study is not there.
        SpecError: The source is none of these, runs the other way than asked, has parameters that
            mean nothing here, or a value is not finite.
        NothingUsable: None of its runs can be ranked.

    Example:
        >>> import tempfile, optuna
        >>> from autotune.importing import Reading, read
        >>> folder = tempfile.TemporaryDirectory()
        >>> url = f"sqlite:///{folder.name}/optuna.db"
        >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
        >>> study = optuna.create_study(study_name="s", storage=url)
        >>> study.optimize(lambda trial: trial.suggest_float("learning_rate", 1e-4, 1e-2), 3)
        >>> found = read(url, Reading(optimizer="adan", top=1))
        >>> found.settings[0]["hyper"]["lr"] == study.best_params["learning_rate"]
        True
        >>> study._storage.remove_session()
        >>> folder.cleanup()
    """
    how = how or Reading()
    if how.top < 1:
        raise SpecError(f"top must be at least 1, got {how.top}")
    path = Path(source)
    if path.suffix in (".json", ".yaml") and not optuna.is_study(source):
        return _kept(source, how)
    return _chosen(_runs(source, how), how)


def written(found: Imported) -> str:
    """Return settings as the file that ``autotune search --try-first`` reads."""
    return json.dumps({"settings": found.settings}, indent=2, allow_nan=False) + "\n"


def _kept(source: str, how: Reading) -> Imported:
    """Return the settings of a file of ours, which is in their order already."""
    _refuse(how, source, "study", "metric", "maximize", "mapping", "ignore", "constants")
    found = earlier.read(Path(source))
    for one in found:
        if "optimizer" not in one or "hyper" not in one:
            raise SpecError(f"{source} holds something else than settings; give {earlier.WRITTEN}")
    own = [one for one in found if how.optimizer in (None, one["optimizer"])]
    if not own:
        raise NothingUsable(f"{source} has no setting of {how.optimizer}")
    for place, one in enumerate(own[: how.top], 1):
        checks.check_setting(one, f"{source}, setting {place}")
    return Imported(source=source, settings=own[: how.top], runs=len(found))


def _refuse(how: Reading, source: str, *names: str) -> None:
    """Refuse what is asked but means nothing for a source."""
    options = {"mapping": "--map", "constants": "--constant"}
    for name in names:
        if getattr(how, name):
            option = options.get(name, f"--{name}")
            raise SpecError(f"{option} says nothing about {source}; leave it out")


def _runs(source: str, how: Reading) -> Runs:
    path = Path(source)
    if optuna.is_study(source):
        _refuse(how, "a study of Optuna", "metric")
        return optuna.read(source, how.study)
    if not path.exists():
        raise NotFound(f"no file or folder at {source}")
    _refuse(how, source, "study")
    if path.suffix == ".csv":
        return table.read(path, how.metric)
    if ray.is_experiment(path):
        return ray.read(path, how.metric)
    raise SpecError(
        f"{source} is none of what can be imported: a database or journal of Optuna, a CSV, a "
        "folder of Ray Tune with a folder for each trial, or a JSON file of autotune export"
    )


def _chosen(runs: Runs, how: Reading) -> Imported:
    _check_direction(runs, how)
    checks.check_asked(how, runs)
    sign = -1.0 if how.maximize else 1.0
    ranked = sorted(runs.found, key=lambda run: sign * run.value)  # stable: the earlier leads
    settings: list[Mapping[str, Any]] = []
    unread: dict[str, None] = {}
    said: set[str] = set()
    seen: list[Any] = []
    for run in ranked:
        if len(settings) == how.top:
            break
        entry, foreign = _entry(run, runs, how)
        unread |= dict.fromkeys(foreign)
        if entry is None:
            continue
        what = (entry["optimizer"], entry["hyper"], entry["warmup"])
        if what not in seen:
            checks.check_setting(entry, run.name)
            seen.append(what)
            settings.append(entry)
            said |= {*entry["hyper"], *({"warmup"} if entry["warmup"] is not None else ())}
    if not settings:
        raise NothingUsable(_nothing(runs, how))
    return Imported(
        source=runs.source,
        settings=settings,
        runs=len(ranked),
        left_out=runs.left_out,
        unread=tuple(unread),
        unsaid=tuple(_unsaid(settings, said)),
    )


def _check_direction(runs: Runs, how: Reading) -> None:
    if runs.maximize is None or runs.maximize == how.maximize:
        return
    if runs.maximize:
        raise SpecError(
            f"{runs.source} maximizes, and a search minimizes a loss; add --maximize to rank its "
            "settings from the highest value down"
        )
    raise SpecError(f"{runs.source} minimizes; leave --maximize out")


def _entry(run: Run, runs: Runs, how: Reading) -> tuple[dict[str, Any] | None, list[str]]:
    """Return a run as an entry of a spec, None if it is another optimizer's, and foreign names."""
    optimizer = _optimizer(run, how)
    if how.optimizer is not None and optimizer != how.optimizer:
        return None, []
    known = names.words(optimizer)
    names.check_words("--map", how.mapping.values(), {*known, names.OPTIMIZER})
    given = {name: value for name, value in run.values.items() if name not in how.ignore}
    values, foreign = names.translated(
        given, how.mapping, {*known, names.OPTIMIZER, "steps"}, run.name
    )
    if foreign and runs.declared:
        raise SpecError(_foreign(run, foreign, optimizer))
    names.check_words("--constant", how.constants, known)
    values = {**{k: names.read_value(v) for k, v in how.constants.items()}, **values}
    values.pop(names.OPTIMIZER, None)
    values.pop("steps", None)
    if "lr" not in values:
        raise SpecError(
            f"{run.name} has no learning rate; say which name is it with --map NAME=lr, or state "
            "the one that all runs had with --constant lr=VALUE"
        )
    hyper, warmup = names.setting(optimizer, values, run.name)
    return {
        "optimizer": optimizer,
        "hyper": {k: list(v) if isinstance(v, tuple) else v for k, v in hyper.items()},
        "warmup": warmup,
        "origin": run.name[:200],
        "value": run.value,
    }, foreign


def _optimizer(run: Run, how: Reading) -> str:
    """Return the optimizer of a run: what it says, else what was asked for."""
    mapped = [how.mapping.get(name) or names.plain(name) for name in run.values]
    said = [v for v, word in zip(run.values.values(), mapped, strict=True) if word == "optimizer"]
    if how.optimizer is None and not said:
        raise SpecError(
            f"{run.name} does not say which optimizer it is of; name it with --optimizer"
        )
    name = str(said[0]) if said else str(how.optimizer)
    name = name.lower() if name.lower() in optimizers.names() else name
    if how.optimizer == name:
        registry.check_optimizer(name)
    elif how.optimizer is None:
        _check_said(name, run)
    return name


def _check_said(name: str, run: Run) -> None:
    """Refuse what a run calls its optimizer, if nothing here is called so."""
    try:
        registry.check_optimizer(name)
    except (UnknownName, MissingExtra, SpecError) as error:
        raise type(error)(
            f"{run.name}: {error}; --optimizer NAME takes the runs of one optimizer alone"
        ) from None


def _foreign(run: Run, foreign: Sequence[str], optimizer: str) -> str:
    verb = "means nothing" if len(foreign) == 1 else "mean nothing"
    return (
        f"{run.name}: {', '.join(foreign)} {verb} to {optimizer}; say what it is with --map "
        f"{foreign[0]}=NAME, or leave it out with --ignore {foreign[0]}"
    )


def _unsaid(settings: Sequence[Mapping[str, Any]], said: set[str]) -> Iterator[str]:
    """Yield what matters most and no setting says."""
    known = set().union(*(optimizers.defaults(one["optimizer"]) for one in settings))
    for name in ("weight_decay", "betas", "warmup"):
        if name not in said and name in {*known, "warmup"}:
            yield name


def _nothing(runs: Runs, how: Reading) -> str:
    out = ", ".join(f"{count} {why}" for why, count in runs.left_out.items())
    if runs.found:
        return f"{runs.source} has no run of {how.optimizer}; its {len(runs.found)} are others'"
    return f"{runs.source} has no run that ended with a number{f': {out}' if out else ''}"
