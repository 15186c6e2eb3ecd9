"""The output of --dry-run: every setting with its source, the plan, and its cost."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from autotune.cli.views import format
from autotune.cli.views.json import document
from autotune.cli.views.progress import listening
from autotune.cli.views.table import facts, table
from autotune.config import Resolved, flat
from autotune.search.plan import Plan, Schedule, plan
from autotune.studies import earlier, urls

_LEGEND = """\
(one_minus_beta1 is 1 - beta1, since betas are close to one; timescale is 1 / (lr * weight decay),
in steps; decayed: whether there is weight decay; gamma1 is Win's first reckless step, gamma_ratio
the second one divided by it)"""


def dry_run_text(
    resolved: Resolved, storage: str | None, as_json: bool, form: str, halt: threading.Event
) -> str:
    """Return the settings and the plan, as text or as JSON; ``form``: how to show progress."""
    with listening(form) as listen:
        planned = plan(resolved.spec, storage, listen=listen, halt=halt)
    settings = flat(resolved)
    place = urls.mask(urls.resolve(storage))
    if as_json:
        content = {key: {"value": value, "source": of} for key, (value, of) in settings.items()}
        return document(settings=content, plan=planned.as_dict(), storage=place)
    parts = [_settings(settings), _shape(planned, place), _spaces(planned), _cost(planned)]
    timed = planned.schedule
    parts += [] if timed is None else [_schedule(timed)]
    return "\n\n".join((*parts, *filter(None, [planned.told]), _ended(planned)))


def _ended(planned: Plan) -> str:
    """Say what was run, and how to learn what only a run can tell."""
    if planned.schedule is not None:
        return "only steps were timed"
    if planned.budget.get("minutes") is not None:
        return "nothing was run or written"
    return (
        "nothing was run or written; how long it takes was not measured: with --minutes N, "
        "--dry-run times steps and says what N minutes pay for"
    )


def _settings(settings: Mapping[str, tuple[Any, str]]) -> str:
    rows = [(key, _value(key, value), source) for key, (value, source) in settings.items()]
    return table([("setting", "value", "from"), *rows])


def _value(key: str, value: Any) -> str:
    if key == earlier.KEY and value:
        return "1 setting" if len(value) == 1 else f"{len(value)} settings"
    return format.value(value)


def _shape(planned: Plan, storage: str) -> str:
    rows = {"search": planned.name, "storage": storage}
    rows |= format.facts(planned.task)
    rows |= {"rungs": f"{', '.join(map(str, planned.rungs))} steps"}
    return facts(rows)


def _spaces(planned: Plan) -> str:
    """Write the search spaces in a table with a column for each optimizer."""
    names = sorted({name for space in planned.spaces.values() for name in space}, key=_order)
    spaces = planned.spaces.values()
    rows = [
        (name, *(_range(space[name]) if name in space else format.NONE for space in spaces))
        for name in names
    ]
    first = {name: "; ".join(origins) for name, origins in planned.presets.items()}
    return (
        f"{table([('searched', *planned.spaces), *rows])}\n{_LEGEND}\n\ntried first\n{facts(first)}"
    )


def _order(name: str) -> tuple[bool, str]:
    return name != "lr", name


def _range(data: Sequence[Any]) -> str:
    """Write a range, a choice or a fixed value."""
    kind, *rest = data
    if kind == "choice":
        return " or ".join(format.value(option) for option in rest[0])
    if kind in {"log", "linear"}:
        return " to ".join(format.number(bound) for bound in rest)
    return format.value(rest[0])


def _cost(planned: Plan) -> str:
    """Say what each optimizer may spend, and how many steps that is for all of them."""
    known = [runs for runs in planned.full_runs.values() if runs is not None]
    least = "at least " if len(known) < len(planned.full_runs) else ""
    stages = {
        name: "until the time is up" if runs is None else format.number(runs)
        for name, runs in planned.full_runs.items()
    }
    total = {"total": f"{least}{format.number(sum(known))}"}
    if planned.settings is not None:
        most = "at most" if planned.budget.get("minutes") is not None else "about"
        total["settings of each optimizer"] = f"{most} {planned.settings}"
    steps = round(sum(known) * planned.rungs[-1] * len(planned.optimizers))
    return (
        f"full runs for each optimizer\n{facts(stages | total)}\n"
        f"{least}{steps:,} steps for all optimizers"
    )


def _schedule(timed: Schedule) -> str:
    """Write what was timed for a budget of minutes, and what the minutes pay for."""
    head = ("timed side by side", *timed.step)
    rows = [
        (name, *(_seconds(each) for each in values.values()))
        for name, values in (
            ("step", timed.step),
            ("evaluation", timed.evaluation),
            ("full run", timed.full_run),
        )
    ]
    shares = {name: format.duration(seconds) for name, seconds in timed.seconds.items()}
    more = {"workers": _workers(timed), "settings of each optimizer": f"about {timed.settings}"}
    return f"{table([head, *rows])}\n\nminutes\n{facts(shares | more)}"


def _workers(timed: Schedule) -> str:
    if timed.gain is None:
        return str(timed.workers)
    return f"{timed.workers}, as several take {timed.gain:.2g} times the steps of one"


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value >= 0.1 else f"{1000 * value:.2g} ms"
