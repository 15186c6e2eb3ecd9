"""What ``autotune show`` tells of a search and of a trial, as values and as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autotune.cli import words
from autotune.cli.report import setting
from autotune.cli.stored import newest, opened, split, studies
from autotune.cli.table import facts, table
from autotune.errors import NotFound, SpecError
from autotune.studies.records import Point, Role, SearchRecord, StudyRecord, TrialRecord
from autotune.studies.store import Store

TOP = 5
BETAS = "(betas are close to one)"
HEADER = ("optimizer", "trial", "for", "origin", "state", "step", "loss")


def search(storage: str | None, study: str | None) -> dict[str, Any]:
    """Return a search, the studies asked for, and their trials."""
    with opened(storage) as store:
        found, chosen = _find(store, study)
        trials = {each.optimizer: store.trials(each.id) for each in chosen}
    return {"search": found, "trials": trials}


def trial(storage: str | None, study: str | None, number: int) -> dict[str, Any]:
    """Return one trial and its curve."""
    with opened(storage) as store:
        found, chosen = _find(store, study)
        if len(chosen) != 1:
            listed = ", ".join(each.optimizer for each in chosen)
            raise SpecError(
                f"search '{found.name}' has a trial {number} of each of {listed}; "
                f"name one: autotune show {found.name}/{chosen[0].optimizer} {number}"
            )
        trials = {each.number: each for each in store.trials(chosen[0].id)}
        if number not in trials:
            raise NotFound(
                f"no trial {number} of {chosen[0].optimizer} in search '{found.name}'; "
                f"its {len(trials)} trials count from 0"
            )
        curve = store.curve(trials[number].id)
    return {
        "search": found.name,
        "optimizer": chosen[0].optimizer,
        "trial": trials[number],
        "curve": curve,
    }


def _find(store: Store, study: str | None) -> tuple[SearchRecord, tuple[StudyRecord, ...]]:
    if study is None:
        found = newest(store)
        return found, found.studies
    name, optimizer = split(study)
    found = store.search(name)
    return found, studies(found, optimizer)


def search_text(content: Mapping[str, Any], every: bool) -> str:
    """Write a search: what it is, how far each optimizer got, its trials."""
    found: SearchRecord = content["search"]
    trials: Mapping[str, list[TrialRecord]] = content["trials"]
    title = "all trials" if every else f"lowest losses, {TOP} an optimizer (--trials shows all)"
    shown = [
        (name, each) for name, those in trials.items() for each in (those if every else _top(those))
    ]
    parts = [facts(_facts(found)), _studies(found, trials), f"{title}\n{_trials(shown)}\n{BETAS}"]
    if found.environment:
        parts.append("environment\n" + facts(_values(found.environment)))
    return "\n\n".join(parts)


def _facts(found: SearchRecord) -> dict[str, str]:
    return {
        "search": f"{found.name}, {found.state}",
        **_values(found.task),
        "budget": _budget(found.spec.get("budget") or {}),
        "searched": f"{words.duration(found.seconds)}, last active {words.moment(found.updated)}",
    }


def _values(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: words.value(value) for name, value in values.items()}


def _budget(budget: Mapping[str, Any]) -> str:
    limits = [
        f"{words.number(limit, 6)} {unit} {'in all' if unit == 'minutes' else 'an optimizer'}"
        for unit, limit in budget.items()
        if limit
    ]
    return ", ".join(limits) or "the default"


def _studies(found: SearchRecord, trials: Mapping[str, list[TrialRecord]]) -> str:
    header = ("optimizer", "full runs", "best", "trials")
    rows = [
        (
            study.optimizer,
            f"{sum(each.step / each.target for each in trials[study.optimizer]):.1f}",
            words.loss(study.best),
            words.counts(study.counts),
        )
        for study in found.studies
        if study.optimizer in trials
    ]
    return table([header, *rows])


def _top(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the lowest losses of the longest runs of the search stage."""
    scored = [each for each in trials if each.loss is not None and each.role is Role.SEARCH]
    return sorted(scored, key=lambda each: (-each.step, each.loss, each.number))[:TOP]


def _trials(shown: Iterable[tuple[str, TrialRecord]]) -> str:
    names = list(setting({}, None))
    rows = [
        [
            optimizer,
            str(each.number),
            each.role,
            each.origin,
            each.state,
            f"{each.step}/{each.target}",
            words.loss(each.loss),
            *setting(each.hyper, each.warmup).values(),
        ]
        for optimizer, each in shown
    ]
    return table([[*HEADER, *names], *rows]) if rows else "none yet"


def trial_text(content: Mapping[str, Any]) -> str:
    """Write a trial: its setting, how it ended and its curve."""
    each: TrialRecord = content["trial"]
    told = {
        "trial": f"{content['search']}/{content['optimizer']} {each.number}, {each.state}",
        "for": f"{each.role}, seed {each.seed}, from {each.origin}",
        **({"reason": each.reason} if each.reason else {}),
        "steps": f"{each.step} of {each.target} in {words.duration(each.seconds)}",
        "validation loss": words.loss(each.loss),
        "accuracy": words.percent(each.accuracy),
        "warm-up": words.percent(each.warmup),
        **_values(each.hyper),
    }
    curve: Iterable[Point] = content["curve"]
    rows = [
        (str(p.step), *map(words.loss, (p.train_loss, p.loss)), words.percent(p.accuracy))
        for p in curve
    ]
    header = ("step", "training loss", "validation loss", "accuracy")
    parts = [f"{facts(told)}\n{BETAS}", *([table([header, *rows])] if rows else [])]
    return "\n\n".join(parts)
