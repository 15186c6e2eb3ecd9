"""Run or go on with a validation for ``autotune validate``, and give its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.cli.shared.interrupt import Interrupt
from autotune.cli.shared.stderr import tell
from autotune.cli.views import validation as view
from autotune.cli.views.json import document
from autotune.cli.views.progress import listening
from autotune.cli.views.table import width
from autotune.results.validation import Validation
from autotune.search import validating
from autotune.search.entrants import Asked
from autotune.search.stored import opened, split
from autotune.tasks.user_modules import help_spawned

AGAIN = "interrupted: finished steps are saved; repeat the command to go on"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a validation ended; None if it was interrupted before its result."""

    validation: Validation | None
    exit_code: int

    def text(self, as_json: bool) -> str | None:
        """Return the result for a person or a program."""
        if self.validation is None:
            return None
        if as_json:
            return document(validation=self.validation)
        return view.report(self.validation, width())


def run(
    study: str,
    rules: Sequence[Sequence[str]] | None,
    given: Mapping[str, Any],
    storage: str | None,
    form: str,
    interrupt: Interrupt,
) -> Ended:
    """Validate until the budget is spent or interrupted; print how to go on after an interrupt."""
    asked = Asked(study=study, rules=rules, **given)
    help_workers(study, storage)
    with listening(form) as listen:
        try:
            found = validating.run(
                asked, storage, listen=interrupt.keeping(listen), halt=interrupt.halt
            )
        except KeyboardInterrupt:
            tell(AGAIN)
            return Ended(validation=None, exit_code=interrupt.exit_code)
    interrupt.over = True
    if found.complete:
        return Ended(validation=found, exit_code=0)
    tell(AGAIN)
    return Ended(validation=None, exit_code=interrupt.exit_code)


def help_workers(study: str, storage: str | None) -> None:
    """Let spawned workers import the user's module as this process does."""
    with opened(storage) as store:
        help_spawned(store.search(split(study)[0]).spec["model"])
