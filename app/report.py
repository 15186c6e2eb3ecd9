"""The result of a search as one HTML file, for readers without the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from autotune.app import (
    advice,
    anytime,
    clock,
    document,
    importance,
    judged,
    listing,
    look,
    outcome,
    words,
)
from autotune.app.curves import metrics
from autotune.app.explained import Importance
from autotune.app.fidelity import samples
from autotune.app.points import Curves
from autotune.results.comparison import REFERENCE, Comparison, Row
from autotune.results.validation import Validation
from autotune.search import details
from autotune.search.stored import opened, written
from autotune.studies import following
from autotune.studies.records import SearchRecord, TrialRecord
from autotune.studies.setting import Setting

_REFERENCES = {"default": "its default", "authors'": "the authors' setting"}
TELLING = 0.1  # share from which a parameter is named beside the first one


@dataclass(frozen=True, kw_only=True)
class Found:
    """All that a report is written from.

    Args:
        comparison: Of the search's optimizers.
        trials: By optimizer.
        curves: Of those trials, by optimizer.
        told: What ``autotune show`` tells of the search.
    """

    comparison: Comparison
    trials: Mapping[str, Sequence[TrialRecord]]
    curves: Mapping[str, Curves]
    told: Mapping[str, Any]

    @property
    def search(self) -> SearchRecord:
        """The search."""
        return self.comparison.search

    @property
    def rows(self) -> tuple[Row, ...]:
        """Its optimizers, the lowest tuned loss first."""
        return self.comparison.rows


def report(storage: str | None, name: str) -> str:
    """Return a search's report as HTML that opens without a network.

    Args:
        storage: URL of the database; None takes the default.
        name: The search.

    Raises:
        NotFound: There is no such search.
    """
    told = details.search(storage, name)
    with opened(storage) as store:
        comparison = details.comparison(store, name)
        studies = {study.optimizer: study.id for study in comparison.search.studies}
        curves = {name: store.curves(own) for name, own in studies.items()}
        ended = {name: following.ended(store, own) for name, own in studies.items()}
    trials = {name: clock.dated(told["trials"][name], ended[name]) for name in studies}
    found = Found(comparison=comparison, trials=trials, curves=curves, told=told)
    return document.page(f"{name} - autotune", [_head(found), *_sections(found)])


def _sections(found: Found) -> Iterator[str]:
    yield document.section("Who won, and by how much?", list(_won(found)))
    yield document.section("Is it luck?", list(_luck(found)))
    yield document.section("What does each tuned setting do differently?", list(_different(found)))
    yield document.section("Which parameters matter?", list(_why(found)))
    yield document.section("What did it cost?", list(_cost(found)))
    yield document.section("Does it hold in longer runs?", list(length(found)))
    yield document.section("What to try next", list(_next(found)))
    yield document.section("How it was made", list(_provenance(found)))


def _head(found: Found) -> str:
    comparison, search = found.comparison, found.search
    when = f"{search.state.value}, last changed {words.moment(search.updated)}"
    lines = filter(None, (*comparison.beside, comparison.tried))
    return "\n".join(
        [
            f"<header>{document.title(search.name)}",
            document.paragraph(f"{_trained(search)}; {when}", "quiet"),
            document.paragraph(words.headline(comparison.verdict, found.trials), "verdict"),
            *(document.paragraph(words.headline(text), "quiet") for text in lines),
            "</header>",
        ]
    )


def _trained(search: SearchRecord) -> str:
    task = search.task
    data = task.get("data")
    on = f" on {data}" if data and data != task.get("model") else ""
    steps = f", {task['steps']} steps" if task.get("steps") else ""
    return f"{task.get('model', search.name)}{on}{steps}"


def _won(found: Found) -> Iterator[str]:
    elsewhere = (found.comparison.verdict, *found.comparison.longer)
    texts = [text for text in found.comparison.sentences if text not in elsewhere]
    yield document.listing(words.headline(text, found.trials) for text in texts)
    if any(row.tuned.loss or row.default.loss for row in found.rows):
        yield document.figure(outcome.losses(found.rows), "judged losses with their intervals")
        yield document.paragraph("Small points are seeds, diamonds their means.", "quiet")
    else:
        yield document.paragraph("No setting was judged: that comes last, on fresh seeds.")
    yield document.table(listing.outcomes(found.comparison), "losses of the judged settings")


def _luck(found: Found) -> Iterator[str]:
    colours = look.colours(row.optimizer for row in found.rows)
    gained = {row.optimizer: row.difference for row in found.rows if row.difference}
    against = {r.optimizer: r.against_reference for r in found.rows if r.against_reference}
    if gained or against:
        yield document.paragraph(
            "Differences of loss, paired by seed: each pair began alike and saw the same batches. "
            "Left of zero the tuned setting is better; where an interval crosses zero, the "
            "difference may be luck."
        )
        if stricter := outcome.stricter(found.rows):
            yield document.paragraph(stricter, "quiet")
    for pairs, other in ((gained, "default or authors'"), (against, f"tuned {REFERENCE}")):
        if pairs:
            chart = outcome.differences(pairs, colours, against=other)
            yield document.figure(chart, f"loss of tuned settings minus {other}")
    differences = pd.DataFrame(_pairs(found.rows))
    if not differences.empty:
        yield document.table(differences, "differences of loss")
    seeds = pd.DataFrame(_by_seed(found.rows)).fillna("")
    if not seeds.empty:
        yield document.table(seeds, "loss by seed")
    for name, known in found.told["reliability"].items():
        if known is not None and known.warning:
            yield document.paragraph(f"{name}: {known.warning}")


def _pairs(rows: Sequence[Row]) -> Iterator[dict[str, str]]:
    """Yield each paired difference, and on how many of the seeds the tuned setting was better."""
    reference = next((row for row in rows if row.optimizer == REFERENCE), None)
    for row in rows:
        known = [(row.difference, row.default, _REFERENCES[row.default.word])]
        if reference is not None:
            known.append((row.against_reference, reference.tuned, f"tuned {REFERENCE}"))
        for difference, other, called in known:
            if difference is not None:
                yield {
                    "loss of": f"tuned {row.optimizer}",
                    "less that of": called,
                    "difference": str(difference),
                    "lower on": _lower(row.tuned.losses, other.losses),
                }


def _lower(ours: Mapping[int, float], theirs: Mapping[int, float]) -> str:
    seeds = set(ours) & set(theirs)
    return f"{sum(ours[seed] < theirs[seed] for seed in seeds)} of {len(seeds)} seeds"


def _by_seed(rows: Sequence[Row]) -> Iterator[dict[str, str]]:
    for row in rows:
        pairs = [(row.default.word, row.default), *([("tuned", row.tuned)] * row.changed)]
        for word, one in pairs:
            losses = {f"seed {s}": words.number(loss) for s, loss in sorted(one.losses.items())}
            yield {"optimizer": row.optimizer, "setting": word, **losses}


def _different(found: Found) -> Iterator[str]:
    frame, same = listing.apart(found.comparison)
    yield document.table(frame, "judged settings")
    if same:
        yield document.paragraph(f"The same wherever it applies: {same}.", "quiet")
    for text in _beside(found.rows):
        yield document.paragraph(text)
    metric = next(iter(metrics(*found.curves.values())))
    bands = judged.bands(found.rows, found.trials, found.curves, metric)
    if bands:
        chart = judged.figure(bands, metric=metric)
        yield document.figure(chart, "learning curves of the judged settings")
        yield document.paragraph(
            "Lines are means over the judging seeds, shades reach from the lowest seed to the "
            "highest; tuned settings are solid.",
            "quiet",
        )


def _beside(rows: Sequence[Row]) -> Iterator[str]:
    """Yield by how much each tuned setting differs from tuned AdamW, in the numbers both have."""
    reference = next((row for row in rows if row.optimizer == REFERENCE), None)
    if reference is None:
        return
    theirs = _numbers(reference.tuned.setting)
    for row in rows:
        ours = _numbers(row.tuned.setting)
        told = [
            f"{name} {words.number(ours[name] / theirs[name])} times"
            if ours[name] and theirs[name]
            else f"{name} {words.number(ours[name])} instead of {words.number(theirs[name])}"
            for name in ours
            if name in theirs and ours[name] != theirs[name]
        ]
        if told:
            yield f"Tuned {row.optimizer} beside tuned {REFERENCE}: {', '.join(told)}."


def _numbers(setting: Setting) -> dict[str, float]:
    known = {**setting.hyper, "warm-up": setting.warmup}
    return {name: float(x) for name, x in known.items() if type(x) in {int, float}}


def _why(found: Found) -> Iterator[str]:
    colours = look.colours(row.optimizer for row in found.rows)
    for study in found.search.studies:
        name = study.optimizer
        reliability = found.told["reliability"].get(name)
        noise = reliability.noise if reliability else None
        compared = samples(found.trials[name], found.curves[name])
        known = importance.matters(compared, study.space, noise=noise)
        if known.explained.refusal:
            yield document.paragraph(f"{name}: {known.explained.refusal}")
            continue
        yield document.paragraph(f"{name}: {_most(known.explained.shares)}")
        yield document.paragraph(importance.caption(known), "quiet")
        chart = importance.figure(known.explained.shares, known.best, colours[name])
        yield document.figure(chart, f"importance of the parameters of {name}")


def _most(shares: Mapping[str, Importance]) -> str:
    """Say which parameters move the loss most, at least one and at most three."""
    ranked = sorted(shares, key=lambda name: -shares[name].share)
    first = [n for i, n in enumerate(ranked[:3]) if not i or shares[n].share >= TELLING]
    said = ", ".join(f"{words.label(name)} ({shares[name].share:.0%})" for name in first)
    return f"the loss moves most with {said}."


def _cost(found: Found) -> Iterator[str]:
    yield document.table(
        pd.DataFrame(
            [
                {
                    "optimizer": row.optimizer,
                    "full runs, all stages": words.number(row.runs),
                    "trials": row.trials,
                    "diverged": row.diverged,
                    "failed": row.failed,
                    "time of training": words.duration(_seconds(found.trials[row.optimizer])),
                }
                for row in found.rows
            ]
        ),
        "cost by optimizer",
    )
    yield document.paragraph(f"Wall time of the search: {words.duration(found.search.seconds)}.")
    for one in found.comparison.validations:
        longer = f"{words.number(one.runs)} runs of {one.steps} steps with {one.optimizer}"
        yield document.paragraph(f"Longer runs, not counted above: {longer}.")
    lines = {name: anytime.progress(trials) for name, trials in found.trials.items()}
    if any(line.costs for line in lines.values()):
        yield document.figure(anytime.figure(lines), "best loss so far against cost")
        yield document.paragraph(
            "Lowest loss of a completed search trial, on one seed; the judged losses are above.",
            "quiet",
        )


def _seconds(trials: Sequence[TrialRecord]) -> float:
    return sum(trial.seconds for trial in trials)


def length(found: Found) -> Iterator[str]:
    """Say what became of the tuned settings in longer runs, or how to try."""
    if found.comparison.longer:
        yield document.listing(found.comparison.longer)
        for one in found.comparison.validations:
            yield from _longer(one)
        return
    steps = found.search.task.get("steps")
    length = f"All runs were of {steps} steps" if steps else "All runs had the length of the task"
    yield document.paragraph(
        f"Not tried. {length}; re-check the learning rate where the real training is longer, its "
        "batch larger or its network another."
    )
    yield document.command(
        f"autotune validate {written(found.search.name)} --steps 5x", "tries runs of that length."
    )


def _longer(one: Validation) -> Iterator[str]:
    name = f"{one.optimizer} in runs {one.times:.4g} times as long"
    for text in one.doubts:
        yield document.paragraph(text, "quiet")
    yield document.figure(outcome.longer(one), name)
    yield document.table(listing.longer(one), name)


def _next(found: Found) -> Iterator[str]:
    for each in advice.advice(found.comparison, found.told["resume"]):
        yield document.command(each.command, each.does)
    texts = [f"{who}: {text}" for who, those in found.told["ranges"].items() for text in those]
    texts += [f"{who}: {text}" for who, text in found.told["ended"].items()]
    texts += [one["diagnosis"] for one in found.told["noise"].values()]
    if texts:
        yield document.listing(texts)


def _provenance(found: Found) -> Iterator[str]:
    search = found.search
    facts = {
        "search": search.name,
        "began": words.moment(search.created),
        **dict(_facts("task:", search.task)),
        **dict(_facts("version or machine:", search.environment)),
        **dict(_facts("spec:", search.spec)),
    }
    frame = pd.DataFrame([{"fact": name, "value": each} for name, each in facts.items()])
    yield document.table(frame, "facts of the search", long=True)


def _facts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield each fact below a name and what it is; what was not given is left out."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _facts(f"{name} {key}", each)
    elif isinstance(value, (list, tuple)):
        yield from [(name, ", ".join(map(str, value)))] if value else []
    elif value is not None:
        yield name, str(value)
