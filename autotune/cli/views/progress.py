"""What a search says on stderr while it runs: bars, lines, JSON or nothing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import click

from autotune.cli.shared.options import Decorator
from autotune.cli.views import format
from autotune.cli.views.json import line
from autotune.search.events import (
    Event,
    Listener,
    Notice,
    SearchStarted,
    Spent,
    TrialEnded,
    TrialStarted,
    ignore,
)
from autotune.studies.records import Role, TrialRecord

FORMS = ("auto", "rich", "plain", "json", "off")

progress: Decorator = click.option(
    "--progress",
    type=click.Choice(FORMS),
    default="auto",
    show_default=True,
    help="How to tell on stderr what happens.",
)


@contextmanager
def listening(form: str) -> Iterator[Listener]:
    """Give a listener that shows a search in the chosen form; ``auto`` looks at stderr."""
    if form == "auto":
        form = "rich" if _draws() else "plain"
    if form == "rich":
        from autotune.cli.views.bars import Bars

        with Bars() as bars:
            yield bars
    else:
        listeners: dict[str, Listener] = {"plain": Lines(), "json": as_json, "off": ignore}
        yield listeners[form]


def _draws() -> bool:
    """Say whether bars can be drawn: on a terminal, or in a notebook that has widgets."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if type(shell).__name__ == "ZMQInteractiveShell":
        return find_spec("ipywidgets") is not None
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def as_json(event: Event) -> None:
    """Write an event as one line of JSON."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()
    # The event's own fields stay apart: some are named like the line's.
    click.echo(line(event=kind, data=event), err=True)


class Lines:
    """Writes one line an ended trial and one a stage: quiet enough for a log."""

    def __init__(self) -> None:
        self.stage: Role | None = None
        self.left = ""

    def __call__(self, event: Event) -> None:
        """Write the lines for an event, if it deserves any."""
        for text in self._texts(event):
            click.echo(text, err=True)

    def _texts(self, event: Event) -> Iterator[str]:
        if isinstance(event, SearchStarted):
            yield opening(event)
        elif isinstance(event, TrialStarted):
            # How long it will take is known soon after the first trials have begun.
            if self.stage:
                yield from self._begun(event.trial.role)
        elif isinstance(event, TrialEnded):
            yield from self._begun(event.trial.role)
            yield ended(event)
        elif isinstance(event, Spent):
            self.left = left(event)
            yield from self._begun(Role(event.stage))
        elif isinstance(event, Notice):
            yield event.text

    def _begun(self, stage: Role) -> Iterator[str]:
        """Tell of a stage once, before anything in it; studies enter it one after another."""
        order = list(Role)
        if self.stage is None or order.index(stage) > order.index(self.stage):
            self.stage = stage
            yield f"stage: {stage}{self.left}"


def opening(event: SearchStarted) -> str:
    """Say what is about to be searched."""
    resumed = f", goes on after {event.resumed} trials" if event.resumed else ""
    workers = f"{event.workers} worker" + ("" if event.workers == 1 else "s")
    data, precision = event.task.get("data", "its data"), event.task.get("precision")
    # A file that brings its own data and loss computes in what it likes.
    told = f"{precision}, " if precision and data != event.task.get("model") else ""
    return (
        f"{event.name}: {', '.join(event.optimizers)} on {data}, {told}"
        f"rungs at {', '.join(map(str, event.rungs))} steps, {workers} ({event.engine}){resumed}"
    )


def ended(event: TrialEnded) -> str:
    """Say how a stretch of a trial ended."""
    trial = event.trial
    best = "  best" if event.best else ""
    role = "" if trial.role is Role.SEARCH else f" ({trial.role})"
    return (
        f"{event.optimizer} trial {trial.number}{role}: {trial.state} at step "
        f"{trial.step}/{trial.target}, "
        f"{_result(trial)}, {format.duration(trial.seconds)}{best}"
    )


def _result(trial: TrialRecord) -> str:
    if trial.loss is None:
        return (trial.reason or "no loss").partition("\n")[0]
    return f"loss {format.loss(trial.loss)}"


def left(event: Spent) -> str:
    """Say how long the search will take, once that is known."""
    return "" if event.left is None else f", about {format.duration(event.left)} left"
