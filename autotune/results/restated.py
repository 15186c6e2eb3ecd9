"""A tuned setting restated for another batch, length or width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from autotune.results.tuned import Tuned, horizon
from autotune.studies.setting import Setting
from autotune.transfer import targets
from autotune.transfer.base import Route
from autotune.transfer.carry import carry
from autotune.transfer.targets import Target


def restated(tuned: Tuned, target: Target, rules: Sequence[str] | None = None) -> Tuned:
    """Return a record with its setting restated for a target.

    Args:
        tuned: As it was found.
        target: The run that it is wanted for.
        rules: Names of rules, ``default`` or ``none``; None: the default ones that apply.

    Raises:
        SpecError: The target is none of a run, or a rule that was named does not apply.
        UnknownName: No rule has that name.
    """
    way = targets.route(target, tuned.tuned_on)
    found = Setting(params={}, hyper=dict(tuned.hyper), warmup=tuned.warmup)
    carried = carry(tuned.optimizer, found, way, rules, tuned.space)
    old = horizon(tuned.tuned_on, tuned.optimizer)
    kept = [text for text in tuned.warnings if text != old]
    return replace(
        tuned,
        hyper=dict(carried.setting.hyper),
        schedule=replace(tuned.schedule, warmup_fraction=carried.setting.warmup),
        target=_facts(target, way),
        changes=carried.changes,
        warnings=(*kept, *targets.warnings(target, way), *carried.warnings),
    )


def _facts(target: Target, way: Route) -> dict[str, Any]:
    """Return the run that a setting is for, in the words of a task's facts."""
    sizes = {"batch_size": way.batch, "steps": way.steps}
    known: dict[str, Any] = {name: pair[1] for name, pair in sizes.items() if pair}
    wider = {"width_ratio": way.width} if way.width != 1 else {}
    return {**known, **_epochs(target, way), **wider}


def _epochs(target: Target, way: Route) -> dict[str, Any]:
    """Return the steps of an epoch, where the target is said in epochs."""
    if target.epochs is None or target.samples is None or way.batch is None:
        return {}
    return {"steps_per_epoch": math.ceil(target.samples / way.batch[1])}
