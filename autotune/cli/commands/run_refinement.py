"""Refine a schedule for ``autotune refine``, and give what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.cli.commands.run_validation import AGAIN, help_workers
from autotune.cli.shared.interrupt import Interrupt
from autotune.cli.shared.stderr import tell
from autotune.cli.views import refinement as view
from autotune.cli.views.json import document
from autotune.cli.views.progress import listening
from autotune.results.refinement import Refinement
from autotune.search import refining
from autotune.search.refining import Asked, Computed


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a refinement ended: with its schedule alone, with its verdict, or with neither."""

    found: Computed | Refinement | None
    exit_code: int = 0

    def text(self, as_json: bool) -> str | None:
        """Return the result for a person or a program."""
        if self.found is None:
            return None
        if isinstance(self.found, Computed):
            return document(schedule=self.found) if as_json else view.preview(self.found)
        return document(refinement=self.found) if as_json else view.report(self.found)


def computed(study: str, given: Mapping[str, Any], storage: str | None) -> Ended:
    """Return the schedule, for which nothing is trained."""
    return Ended(found=refining.compute(Asked(study=study, **given), storage))


def run(
    study: str, given: Mapping[str, Any], storage: str | None, form: str, interrupt: Interrupt
) -> Ended:
    """Train by the schedule until the budget is spent or interrupted; say how to go on."""
    help_workers(study, storage)
    with listening(form) as listen:
        try:
            found = refining.run(
                Asked(study=study, **given),
                storage,
                listen=interrupt.keeping(listen),
                halt=interrupt.halt,
            )
        except KeyboardInterrupt:
            tell(AGAIN)
            return Ended(found=None, exit_code=interrupt.exit_code)
    interrupt.over = True
    if found.complete:
        return Ended(found=found)
    tell(AGAIN)
    return Ended(found=None, exit_code=interrupt.exit_code)
