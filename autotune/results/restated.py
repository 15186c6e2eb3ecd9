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

NOISE, NOISE_ORIGIN = "noise_scale", "noise_origin"  # in a restated record's target


def restated(tuned: Tuned, target: Target, rules: Sequence[str] | None = None) -> Tuned:
    """Return a record with its setting restated for a target.

    Args:
        tuned: As it was found.
        target: The run that it is wanted for.
        rules: Names of rules and sets (``default``, ``literature``), or ``none``; None: default.

    Raises:
        SpecError: The target is none of a run, or a rule that was named does not apply.
        UnknownName: No rule has that name.
    """
    target, origin = _with_noise(target, tuned)
    way = targets.route(target, tuned.tuned_on)
    found = Setting(params={}, hyper=dict(tuned.hyper), warmup=tuned.warmup)
    carried = carry(tuned.optimizer, found, way, rules, tuned.space)
    # A table says what the warm-up is, for a run of any length.
    changes = [
        one for one in carried.changes if not (tuned.schedule.table and one.name == "warmup")
    ]
    old = horizon(tuned.tuned_on, tuned.optimizer)
    kept = [text for text in tuned.warnings if text != old]
    return replace(
        tuned,
        hyper=dict(carried.setting.hyper),
        schedule=replace(tuned.schedule, warmup_fraction=carried.setting.warmup),
        target={**_facts(target, way), **origin},
        changes=tuple(changes),
        warnings=(*kept, *targets.warnings(target, way), *carried.warnings),
    )


def _with_noise(target: Target, tuned: Tuned) -> tuple[Target, dict[str, Any]]:
    """Return a target with the noise scale of its setting, and what is to be said of that.

    One that is given by hand counts before one that was measured.
    """
    if target.batch is None:
        return target, {}
    if target.noise_scale is not None:
        return target, {NOISE: target.noise_scale, NOISE_ORIGIN: "given by hand"}
    if tuned.noise_scale is None:
        return target, {}
    known = replace(target, noise_scale=tuned.noise_scale)
    return known, {NOISE: tuned.noise_scale, NOISE_ORIGIN: tuned.noise_origin}


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
