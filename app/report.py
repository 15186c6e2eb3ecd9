"""The result of a search as one HTML file, for readers without the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from autotune.app import (
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
from autotune.app.fidelity import samples
from autotune.app.points import Curves
from autotune.results.comparison import REFERENCE, Comparison, Row
from autotune.search import details
from autotune.search.stored import opened, written
from autotune.studies import following
from autotune.studies.records import SearchRecord, TrialRecord


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
    yield document.section("Does it hold at full length?", list(_length(found)))
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
            document.paragraph(comparison.verdict, "verdict"),
            *(document.paragraph(text, "quiet") for text in lines),
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
    yield document.listing(texts)
    if any(row.tuned.loss or row.default.loss for row in found.rows):
        yield document.figure(outcome.losses(found.rows), "judged losses with their intervals")
        yield document.paragraph("Small points are seeds, diamonds their means.", "quiet")
    else:
        yield document.paragraph("No setting was judged: that comes last, on fresh seeds.")
    frame, same = listing.contenders(found.comparison)
    yield document.table(frame)
    if same:
        yield document.paragraph(f"The same wherever it applies: {same}.", "quiet")


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
    for pairs, other in ((gained, "reference"), (against, f"tuned {REFERENCE}")):
        if pairs:
            chart = outcome.differences(pairs, colours, against=other)
            yield document.figure(chart, f"loss of tuned settings minus {other}")
    seeds = pd.DataFrame(_by_seed(found.rows)).fillna("")
    if not seeds.empty:
        yield document.table(seeds)
    for name, known in found.told["reliability"].items():
        if known is not None and known.warning:
            yield document.paragraph(f"{name}: {known.warning}")


def _by_seed(rows: Sequence[Row]) -> Iterator[dict[str, str]]:
    for row in rows:
        pairs = [(row.default.word, row.default), *([("tuned", row.tuned)] * row.changed)]
        for word, one in pairs:
            losses = {f"seed {s}": words.number(loss) for s, loss in sorted(one.losses.items())}
            yield {"optimizer": row.optimizer, "setting": word, **losses}


def _different(found: Found) -> Iterator[str]:
    yield document.table(_settings(found.rows))
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


def _settings(rows: Sequence[Row]) -> pd.DataFrame:
    """Return a row for each part of a setting, a column for each optimizer's tuned one."""
    columns = {row.optimizer: words.settings(row.tuned.setting) for row in rows}
    frame = pd.DataFrame(columns).fillna("")
    return frame.reset_index(names="tuned setting")


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
        yield document.paragraph(f"{name}: {importance.caption(known)}", "quiet")
        chart = importance.figure(known.explained.shares, known.best, colours[name])
        yield document.figure(chart, f"importance of the parameters of {name}")


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
                    "hours of training": f"{_seconds(found.trials[row.optimizer]) / 3600:.3g}",
                }
                for row in found.rows
            ]
        )
    )
    yield document.paragraph(f"Wall time of the search: {words.duration(found.search.seconds)}.")
    lines = {name: anytime.progress(trials) for name, trials in found.trials.items()}
    if any(line.costs for line in lines.values()):
        yield document.figure(anytime.figure(lines), "best loss so far against cost")
        yield document.paragraph(
            "Lowest loss of a completed search trial, on one seed; the judged losses are above.",
            "quiet",
        )


def _seconds(trials: Sequence[TrialRecord]) -> float:
    return sum(trial.seconds for trial in trials)


def _length(found: Found) -> Iterator[str]:
    if found.comparison.longer:
        yield document.listing(found.comparison.longer)
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


def _next(found: Found) -> Iterator[str]:
    name = found.search.name
    if name in found.told["resume"]:
        yield document.command(found.told["resume"][name], "goes on with this search.")
    texts = [f"{who}: {text}" for who, those in found.told["ranges"].items() for text in those]
    texts += [f"{who}: {text}" for who, text in found.told["ended"].items()]
    if texts:
        yield document.listing(texts)
    best = next((row for row in found.rows if row.tuned.loss and not row.tuned.failures), None)
    if best is not None:
        export = f"autotune export {written(name, best.optimizer)} --as torch"
        yield document.command(export, f"writes the tuned setting of {best.optimizer}.")


def _provenance(found: Found) -> Iterator[str]:
    search = found.search
    facts = {
        "search": search.name,
        "began": words.moment(search.created),
        **{f"task: {name}": value for name, value in search.task.items()},
        **{f"version or machine: {name}": value for name, value in search.environment.items()},
        **{f"spec: {name}": value for name, value in search.spec.items() if value is not None},
    }
    frame = pd.DataFrame([{"fact": name, "value": str(each)} for name, each in facts.items()])
    yield document.table(frame, long=True)
