"""Progress on a terminal: a bar for each optimizer, the stage, the best loss, the time left."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from autotune.cli.views import format
from autotune.cli.views.progress import started_line, time_left, trial_ended_line, why
from autotune.search.events import Event, Notice, SearchStarted, Spent, TrialEnded
from autotune.studies.records import TrialState


class Bars:
    """A listener that draws the progress of a search."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[spent]}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=Console(file=sys.stderr, highlight=False),
            transient=True,
        )
        self.tasks: dict[str, TaskID] = {}
        self._told = ""  # why the last trial failed, where its line says so

    def __enter__(self) -> Bars:
        """Start drawing."""
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bars."""
        self.progress.stop()

    def __call__(self, event: Event) -> None:
        """Draw the change that an event reports."""
        if isinstance(event, SearchStarted):
            self._print(started_line(event))
        elif isinstance(event, Notice):
            if event.text != self._told:
                self._print(event.text)
        elif isinstance(event, TrialEnded) and event.trial.state is TrialState.FAILED:
            self._told = why(event)
            self._print(trial_ended_line(event))
        elif isinstance(event, Spent):
            self._draw(event)

    def _print(self, text: str) -> None:
        self.progress.console.print(escape(text))

    def _draw(self, event: Spent) -> None:
        total = self._task("all")
        self.progress.update(
            total,
            description=event.stage,
            completed=sum(event.runs.values()),
            total=sum(event.planned.values()),
            note=time_left(event).removeprefix(", ") or "estimating the time left",
        )
        for optimizer, planned in event.planned.items():
            runs = event.runs.get(optimizer, 0.0)
            best = event.best.get(optimizer)
            self.progress.update(
                self._task(optimizer),
                completed=runs,
                total=planned,
                spent=f"{runs:.1f}/{planned:.1f} full runs",
                note="" if best is None else f"best {format.loss(best)}",
            )

    def _task(self, name: str) -> TaskID:
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, spent="", note="")
        return self.tasks[name]
