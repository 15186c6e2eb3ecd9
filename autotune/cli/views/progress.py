"""Progress of a search on stderr: bars, lines, JSON or nothing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import click

from autotune.cli.shared.options import Decorator
from autotune.cli.shared.stderr import close_stderr
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
    help="How to show progress on stderr.",
)


@contextmanager
def listening(form: str) -> Iterator[Listener]:
    """Give a listener that shows progress in this form; ``auto`` depends on what stderr is."""
    if form == "auto":
        form = "rich" if _draws() else "plain"
    if form == "rich":
        from autotune.cli.views.bars import Bars

        with Bars() as bars:
            yield _lasting(bars)
    else:
        listeners: dict[str, Listener] = {"plain": Lines(), "json": as_json, "off": ignore}
        yield _lasting(listeners[form])


def _lasting(show: Listener) -> Listener:
    """Return a listener that a stderr without a reader does not end: the search goes on."""

    def heard(event: Event) -> None:
        try:
            show(event)
        except OSError:
            close_stderr()

    return heard


def _draws() -> bool:
    """Say whether bars can be drawn: on a terminal, or in a notebook that has widgets."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if type(shell).__name__ == "ZMQInteractiveShell":
        return find_spec("ipywidgets") is not None
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def as_json(event: Event) -> None:
    """Write an event as one line of JSON."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()
    # Under "data": an event may have fields with the same names as the line.
    click.echo(line(event=kind, data=event), err=True)


class Lines:
    """Writes a line for each trial that ends and for each new stage; fit for a log."""

    def __init__(self) -> None:
        self.stage: Role | None = None
        self.left = ""
        self._told = ""  # why the last trial ended, where its line says so

    def __call__(self, event: Event) -> None:
        """Write the lines of an event; most events have none."""
        for text in self._texts(event):
            click.echo(text, err=True)

    def _texts(self, event: Event) -> Iterator[str]:
        if isinstance(event, SearchStarted):
            yield started_line(event)
        elif isinstance(event, TrialStarted):
            # The first stage is announced later, once the time left is known.
            if self.stage:
                yield from self._stage_lines(event.trial.role)
        elif isinstance(event, TrialEnded):
            yield from self._stage_lines(event.trial.role)
            self._told = why(event)
            yield trial_ended_line(event)
        elif isinstance(event, Spent):
            self.left = time_left(event)
            yield from self._stage_lines(Role(event.stage))
        elif isinstance(event, Notice) and event.text != self._told:
            yield event.text

    def _stage_lines(self, stage: Role) -> Iterator[str]:
        """Announce a stage once, before its first trial; studies reach it at different times."""
        order = list(Role)
        if self.stage is None or order.index(stage) > order.index(self.stage):
            self.stage = stage
            yield f"stage: {stage}{self.left}"


def started_line(event: SearchStarted) -> str:
    """Say what is searched, and where it runs."""
    resumed = f", goes on after {event.resumed} trials" if event.resumed else ""
    workers = f"{event.workers} worker" + ("" if event.workers == 1 else "s")
    data, precision = event.task.get("data"), event.task.get("precision")
    place = f" on {data}" if data else ""  # a command's data, or a caller's own, have no name
    # The precision of a user's own problem is not known.
    computed = f"{precision}, " if precision and data != event.task.get("model") else ""
    computed += f"on {event.task['device']}, " if "device" in event.task else ""
    return (
        f"{event.name}: {', '.join(event.optimizers)}{place}, {computed}"
        f"rungs at {', '.join(map(str, event.rungs))} steps, {workers} ({event.engine}){resumed}"
    )


def trial_ended_line(event: TrialEnded) -> str:
    """Say how a trial ended or paused."""
    trial = event.trial
    best = "  best" if event.best else ""
    role = "" if trial.role is Role.SEARCH else f" ({trial.role})"
    return (
        f"{event.optimizer} trial {trial.number}{role}: {trial.state} at step "
        f"{trial.step}/{trial.target}, "
        f"{_result(trial)}, {format.duration(trial.seconds)}{best}"
    )


def why(event: TrialEnded) -> str:
    """Return the notice that would say again what the line of an ended trial says."""
    return f"{event.optimizer} trial {event.trial.number}: {_result(event.trial)}"


def _result(trial: TrialRecord) -> str:
    if trial.loss is None:
        return (trial.reason or "no loss").partition("\n")[0]
    return f"loss {format.loss(trial.loss)}"


def time_left(event: Spent) -> str:
    """Say how long the search will still take, once that is known."""
    return "" if event.left is None else f", about {format.duration(event.left)} left"
