"""Whether settings reach the training that is measured: a loop may train by others of its own."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.studies.records import TrialRecord


def unreached(name: str, trials: Iterable[TrialRecord]) -> str | None:
    """Return a sentence if all settings of an optimizer have the same losses, seed by seed.

    A search would find its first setting the best, as no other is below it.
    """
    groups: dict[tuple[int, int, int], list[TrialRecord]] = {}
    for trial in trials:
        if trial.loss is not None:
            groups.setdefault((trial.seed, trial.step, trial.target), []).append(trial)
    if any(one.loss != group[0].loss for group in groups.values() for one in group):
        return None
    if all(one.setting.trains_like(own[0].setting) for own in groups.values() for one in own):
        return None
    return (
        f"every setting of {name} has the same loss on the same seed, so nothing can be concluded: "
        "let the training take its optimizer, or the arguments, that it is given"
    )
