"""The output of ``autotune show --rerun``: both curves, and whether they are equal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from autotune.cli.shared.options import say
from autotune.cli.views import format
from autotune.cli.views.table import table
from autotune.search import details
from autotune.search.rerun import Rerun, rerun, whole
from autotune.studies.records import Point

HEADER = ("step", "training loss", "again", "validation loss", "again")


def content(storage: str | None, study: str | None, number: int) -> dict[str, Any]:
    """Run a stored trial again, without storing anything."""
    found = details.trial(storage, study, number)
    search = details.search_of(storage, study)
    trial, curve = found["trial"], found["curve"]
    with redirect_stdout(sys.stderr):  # a user's function may print
        job = whole(search, found["optimizer"], trial, curve)
        say(f"training trial {number} again, {job.stop} steps")
        again = rerun(search, trial, curve, job)
    return {**found, "rerun": again}


def text(found: Mapping[str, Any]) -> str:
    """Write both curves and how they differ."""
    again: Rerun = found["rerun"]
    curves = [{point.step: point for point in points} for points in (found["curve"], again.points)]
    rows = [
        _row(step, *(curve.get(step) for curve in curves))
        for step in sorted({*curves[0], *curves[1]})
    ]
    parts = [table([HEADER, *rows]), "\n".join([_verdict(found), *again.notes])]
    return "\n\n".join(parts)


def _row(step: int, one: Point | None, other: Point | None) -> tuple[str, ...]:
    return (
        str(step),
        *(format.loss(point.train_loss if point else None) for point in (one, other)),
        *(format.loss(point.loss if point else None) for point in (one, other)),
    )


def _verdict(found: Mapping[str, Any]) -> str:
    again: Rerun = found["rerun"]
    points = "1 point" if again.compared == 1 else f"{again.compared} points"
    ends = f" and {again.outcome} likewise: {again.reason}" if again.reason else ""
    if again.equal:
        return f"equal bit for bit at {points}{ends}"
    if again.largest is not None:
        far = again.largest
        return (
            f"not equal: of {points} the largest difference is {far.size:.3g}, "
            f"in the {far.metric} at step {far.step}"
        )
    why = f", {again.reason}" if again.reason else ""
    return f"not equal: it was {found['trial'].state}, and is {again.outcome} now{why}"
