"""Run or resume a search for ``autotune search``, handle interrupts, and give its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.cli.shared.interrupt import Interrupt
from autotune.cli.shared.stderr import tell
from autotune.cli.views.comparison import report
from autotune.cli.views.json import document
from autotune.cli.views.progress import listening
from autotune.cli.views.table import facts, width
from autotune.config import Request, Resolved, refuse_asked, resolve
from autotune.errors import NothingUsable
from autotune.results.comparison import Comparison
from autotune.search.stored import flag, opened, resume_command, written
from autotune.studies.spec import SearchSpec, parse

if TYPE_CHECKING:
    from autotune.search import session


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a search ended; the comparison is None if it was interrupted."""

    comparison: Comparison | None
    exit_code: int


def resolve_request(request: Request, storage: str | None, resume: str | None) -> Resolved:
    """Return the settings of a search; a resumed search keeps those it was begun with."""
    if resume is None:
        return resolve(request)
    with opened(storage) as store:
        stored = store.search(resume)
    refuse_asked(parse(dict(stored.spec)))
    return resolve(request, stored=(f"search '{resume}'", {**stored.spec, "name": resume}))


def run(spec: SearchSpec, storage: str | None, form: str, interrupt: Interrupt) -> Ended:
    """Run a search until it ends or is interrupted; print how to go on after an interrupt."""
    try:
        ended = _run(spec, storage, form, interrupt)
    except NothingUsable as error:
        look = f"autotune show {written(spec.search_name)} --trials{flag(storage)}"
        raise NothingUsable(f"{error}; look at each with: {look}") from error
    interrupt.over = True
    if ended.saved is None:
        return Ended(comparison=ended.comparison, exit_code=0)
    following = f"go on with: {resume_command(spec.search_name, storage)}"
    tell(ended.interrupted(following))
    return Ended(comparison=None, exit_code=interrupt.exit_code)


def _run(spec: SearchSpec, storage: str | None, form: str, interrupt: Interrupt) -> session.Ended:
    from autotune.search import session
    from autotune.tasks.user_modules import help_spawned

    help_spawned(spec.model)
    with listening(form) as listen:
        heard = interrupt.keeping(listen)
        return session.run(spec, storage, listen=heard, halt=interrupt.halt)


def result_text(comparison: Comparison, storage: str | None, as_json: bool) -> str:
    """Return the comparison and what to do next, for a person or a program."""
    name = comparison.search.name
    following = {"look": f"autotune dashboard{flag(storage)}"}
    judged = [row.optimizer for row in comparison.rows if row.tuned.loss]
    if judged:
        export = f"autotune export {written(name, judged[0])} --as torch{flag(storage)}"
        following = {"export": export} | following
    if as_json:
        return document(comparisons=[comparison], next=following)
    return f"{report(comparison, width())}\n\n{facts(following)}"
