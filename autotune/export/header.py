"""The words every export opens with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autotune.registry import foreign
from autotune.results.figures import figure, together
from autotune.results.intervals import Estimate
from autotune.results.restated import NOISE, NOISE_ORIGIN
from autotune.results.tuned import Schedule, Tuned
from autotune.results.validation import NOT_TRIED

VERSIONS = ("adan-autotune", "torch")


def lines(tuned: Tuned) -> list[str]:
    """Return the provenance of a setting, a sentence a line, safe to stand in a comment."""
    parts = (*_origin(tuned), *_evidence(tuned), *_target(tuned), *_reading(tuned))
    return [printable(line) for line in parts]


def printable(text: str) -> str:
    """Return ``text`` on one line: what does not print is written as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _origin(tuned: Tuned) -> list[str]:
    come = tuned.provenance
    known = come.environment.get("packages", {})
    named = [*VERSIONS, *_home(tuned.optimizer, known)]
    versions = [f"{name} {known[name]}" for name in named if name in known]
    return [
        f"{tuned.optimizer} for {tuned.tuned_on.get('model', 'a model')}, written by adan-autotune",
        f"search {come.search} of {come.created}: {', '.join([come.origin, *versions])}",
    ]


def _home(optimizer: str, known: Iterable[str]) -> list[str]:
    """Return the package of another package's optimizer, if its version was recorded."""
    module = optimizer.partition(".")[0] if foreign(optimizer) else ""
    same = [name for name in known if name.replace("-", "_").lower() == module.lower()]
    return [name for name in same if name not in VERSIONS]


def _evidence(tuned: Tuned) -> list[str]:
    found = tuned.evidence
    default = f"; {found.reference}: {_loss(found.default)}" if found.default else ""
    verdicts = [text for text in (found.verdict, found.reference_verdict) if text]
    longer = tuned.longer or (NOT_TRIED,)
    return [f"{found.metric}: {_loss(found.loss)}{default}", *verdicts, *longer]


def _loss(loss: Estimate) -> str:
    seeds = "1 seed" if loss.n == 1 else f"{loss.n} seeds"
    if loss.low is None or loss.high is None:
        return f"{figure(loss.mean)} ({seeds})"
    mean, low, high = together(loss.mean, loss.low, loss.high)
    return f"{mean} ({low} to {high}, {seeds})"


def _target(tuned: Tuned) -> list[str]:
    """Say which run a setting was restated for, and each value before and after."""
    if not tuned.target:
        return []
    searched = {"width_ratio": 1, **tuned.tuned_on}
    sizes = [
        f"{name} {value}" + (f" (searched with {searched[name]})" if name in searched else "")
        for name, value in tuned.target.items()
        if name not in (NOISE, NOISE_ORIGIN)
    ]
    return [
        f"restated for {', '.join(sizes)}",
        *_noise(tuned.target),
        *(
            f"{each.name}: {_value(each.old)} -> {_value(each.new)}, rule {each.rule} "
            f"({each.source})"
            for each in tuned.changes
        ),
        *_kept(tuned),
    ]


def _kept(tuned: Tuned) -> list[str]:
    """Say which of lr and weight decay, which others restate for a larger run, are as found."""
    restated = {each.name for each in tuned.changes}
    names = [name for name in ("lr", "weight_decay") if name in tuned.hyper]
    kept = [name.replace("_", " ") for name in names if name not in restated]
    return [f"no rule restates {' and '.join(kept)}: as found"] if kept else []


def _noise(target: Mapping[str, Any]) -> list[str]:
    """Say from which batch on lr was not raised, and how that is known."""
    if NOISE not in target:
        return []
    samples = f"{target[NOISE]:.4g} samples"
    meaning = "beyond which rule batch raises lr no further"
    return [f"noise scale: {samples}, {meaning}; {target[NOISE_ORIGIN]}"]


def _value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_value, value))})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _reading(tuned: Tuned) -> list[str]:
    meaning = tuned.conventions
    return [
        *_table(tuned.schedule),
        *([f"betas: {meaning.betas}"] if "betas" in tuned.hyper else []),
        f"weight decay: {meaning.weight_decay}; undecayed: {meaning.undecayed}",
        *(f"warning: {warning}" for warning in tuned.warnings),
    ]


def _table(schedule: Schedule) -> list[str]:
    """Say where a schedule that is a table comes from, and that the evidence is by another."""
    if not schedule.table:
        return []
    return [
        f"schedule: {schedule.origin}; the last step is at rate 0",
        f"the losses above are by warm-up and cosine; {schedule.verdict}",
    ]
