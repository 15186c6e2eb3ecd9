"""A search or a trial as text, for ``autotune show``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from autotune.cli.views import format
from autotune.cli.views.comparison import setting
from autotune.cli.views.table import facts, table
from autotune.results.reliability import Reliability
from autotune.studies.records import (
    Point,
    Role,
    SearchRecord,
    StudyRecord,
    TrialRecord,
    TrialState,
    mixed,
)

TOP = 5
BETAS = "(betas are close to one)"
STUDIES = ("optimizer", "full runs", "best (search seed)", "judged (fresh seeds)", "trials")
TRIALS = ("optimizer", "trial", "stage", "origin", "state", "step", "loss at step")
PROXY = ("optimizer", "at steps", "settings", "all", "best tenth")
SEEDS = ("optimizer", "from seed to seed", "among the best settings")
EXPORTS = ("optimizer", "as", "file", "at")
POLICIES = ("sampler", "pruner")
BAD = (TrialState.DIVERGED, TrialState.FAILED)


def search_text(content: Mapping[str, Any], every: bool) -> str:
    """Write a search: its facts, the progress of each optimizer, its trials."""
    found: SearchRecord = content["search"]
    best = f"best {TOP} search trials of each optimizer, the longest first (--trials shows all)"
    title = "all trials" if every else best
    trials = f"{title}\n{_trials(content, every)}\n{BETAS}"
    ended = "\n".join(f"{name}: {text}" for name, text in content["ended"].items())
    unlearned = "\n".join(content["nothing_learned"].values())
    studies = [_studies(content), *filter(None, (ended, unlearned))]
    parts = [facts(_facts(content)), *studies, trials, *_proxy(content["reliability"])]
    ranges = [f"{name}: {text}" for name, those in content["ranges"].items() for text in those]
    if ranges:
        parts.append("\n".join(["ranges", *ranges]))
    if content["noise"]:
        parts.append("\n".join(["diagnosis", *(o["diagnosis"] for o in content["noise"].values())]))
    if content["validations"]:
        said = [text for one in content["validations"] for text in one.sentences]
        parts.append("\n".join(["in longer runs", *said]))
    if content["refinements"]:
        said = [text for one in content["refinements"] for text in one.sentences]
        parts.append("\n".join(["by refined schedules", *said]))
    if content["exports"]:
        parts.append(_exports(content["exports"]))
    if found.environment:
        parts.append("environment\n" + facts(format.facts(found.environment)))
    return "\n\n".join(parts)


def _facts(content: Mapping[str, Any]) -> dict[str, str]:
    found: SearchRecord = content["search"]
    return {
        "search": f"{found.name}, {found.state}",
        **({"go on": content["resume"][found.name]} if content["resume"] else {}),
        **format.facts(found.task),
        **({"mixed": " and ".join(found.task["mixed"])} if mixed(found.task) else {}),
        "budget": _budget(found.spec.get("budget") or {}),
        **{kind: found.spec[kind] for kind in POLICIES if kind in found.spec},
        "searched": f"{format.duration(found.seconds)}, last active {format.moment(found.updated)}",
    }


def _values(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: format.value(value) for name, value in values.items()}


def _budget(budget: Mapping[str, Any]) -> str:
    rest = dict(budget)
    patience = rest.pop("patience", None)
    limits = [
        f"{format.number(limit, 6)} {unit} {'in all' if unit == 'minutes' else 'per optimizer'}"
        for unit, limit in rest.items()
        if limit
    ] or ["the default"]
    if patience:
        limits.append(f"until {patience} settings in a row bring no new best")
    return ", ".join(limits)


def _studies(content: Mapping[str, Any]) -> str:
    trials, judged = content["trials"], content["judged"]
    rows = [
        (
            study.optimizer,
            f"{_runs(trials[study.optimizer]):.1f}",
            format.loss(study.best),
            str(judged[study.optimizer] or format.NONE),
            ", ".join(filter(None, (format.counts(study.counts), _added(study)))),
        )
        for study in content["search"].studies
        if study.optimizer in trials
    ]
    return table([STUDIES, *rows])


def _runs(trials: Iterable[TrialRecord]) -> float:
    """Return the full runs that were trained here."""
    return sum(each.step / each.target for each in trials if each.role is not Role.ADDED)


def _added(study: StudyRecord) -> str:
    return f"{study.added} added" if study.added else ""


def _exports(found: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    rows = [
        (name, one["format"], one["path"] or format.NONE, format.moment(one["created"]))
        for name, those in found.items()
        for one in those
    ]
    return f"exported\n{table([EXPORTS, *rows])}"


def _proxy(found: Mapping[str, Reliability | None]) -> Iterator[str]:
    """Yield how much short runs and single seeds tell, where enough was measured."""
    rows = [
        (name, f"{a.short} and {a.long}", str(a.trials), *map(_correlation, (a.overall, a.top)))
        for name, one in found.items()
        for a in (one.agreements if one else ())
        if a.overall is not None
    ]
    if rows:
        title = "how well short runs predict longer ones: rank correlation of losses"
        yield f"{title}\n{table([PROXY, *rows])}"
    measured = [(name, one) for name, one in found.items() if one and one.noise is not None]
    seeds = [(n, format.loss(one.noise), format.loss(one.spread)) for n, one in measured]
    if seeds:
        yield f"how much one seed tells: standard deviation of the loss\n{table([SEEDS, *seeds])}"
    yield from (f"{name}: {one.warning}" for name, one in measured if one.warning)


def _correlation(value: float | None) -> str:
    return format.NONE if value is None else f"{value:+.2f}"


def _trials(content: Mapping[str, Any], every: bool) -> str:
    measured = content["measured"]
    rows = [
        [optimizer, *_cells(each, measured[optimizer].get(each.number))]
        for optimizer, those in content["trials"].items()
        for each in (those if every else _top(those, measured[optimizer]))
    ]
    return table([[*TRIALS, *setting({}, None)], *rows]) if rows else "none yet"


def _top(trials: Iterable[TrialRecord], measured: Mapping[int, Point]) -> list[TrialRecord]:
    searched = [each for each in trials if each.role is Role.SEARCH]
    return sorted(searched, key=lambda each: _rank(each, measured.get(each.number)))[:TOP]


def _rank(trial: TrialRecord, last: Point | None) -> tuple[bool, int, float, int]:
    """Order by the last measured step, then by the loss there; failures come last."""
    seen = _seen(trial, last)
    step, loss = (seen.step, seen.loss) if seen else (0, None)
    return trial.state in BAD, -step, math.inf if loss is None else loss, trial.number


def _seen(trial: TrialRecord, last: Point | None) -> Point | None:
    """Return the last point with a loss; None for a trial that diverged or failed."""
    if trial.state in BAD:
        return None
    own = Point(step=trial.step, seconds=trial.seconds, loss=trial.loss, accuracy=trial.accuracy)
    points = [each for each in (own, last) if each is not None and each.loss is not None]
    return max(points, key=attrgetter("step"), default=None)


def _cells(trial: TrialRecord, last: Point | None) -> list[str]:
    seen = _seen(trial, last)
    return [
        str(trial.number),
        trial.role,
        trial.origin,
        trial.state,
        f"{trial.step}/{trial.target}",
        f"{format.loss(seen.loss)} at {seen.step}" if seen else format.NONE,
        *setting(trial.setting.hyper, trial.setting.warmup).values(),
    ]


def trial_text(content: Mapping[str, Any]) -> str:
    """Write a trial: its setting, its end and its curve."""
    each: TrialRecord = content["trial"]
    about = {
        "trial": f"{content['search']}/{content['optimizer']} {each.number}, {each.state}",
        "stage": _stage(each),
        **({"reason": each.reason} if each.reason else {}),
        "steps": f"{each.step} of {each.target} in {format.duration(each.seconds)}",
        **_outcome(each, content["curve"]),
        "warm-up": format.percent(each.setting.warmup),
        **_values(each.setting.hyper),
    }
    rows = [
        (str(p.step), *map(format.loss, (p.train_loss, p.loss)), format.accuracy(p.accuracy))
        for p in content["curve"]
    ]
    header = ("step", "training loss", "validation loss", "accuracy")
    parts = [f"{facts(about)}\n{BETAS}", *([table([header, *rows])] if rows else [])]
    if each.output:
        parts.append("\n".join(["last lines of its output (--log shows all)", *each.output]))
    return "\n\n".join(parts)


def _stage(trial: TrialRecord) -> str:
    if trial.role is Role.ADDED:
        return f"{trial.origin}; samplers know it, and it does not count"
    return f"{trial.role}, seed {trial.seed}, from {trial.origin}"


def _outcome(trial: TrialRecord, curve: Iterable[Point]) -> dict[str, str]:
    measured = [point for point in curve if point.loss is not None]
    seen = _seen(trial, measured[-1] if measured else None)
    if seen is None:
        return {"validation loss": format.NONE, "accuracy": format.NONE}
    at = f" at step {seen.step}" if seen.step != trial.step else ""
    return {
        "validation loss": format.loss(seen.loss) + at,
        "accuracy": format.accuracy(seen.accuracy),
    }
