"""What to do after a search: commands, each with what it answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autotune.results.comparison import REFERENCE, Comparison, Row
from autotune.search.stored import resume_command, written
from autotune.studies.records import SearchState

TIMES = "5x"  # how long longer runs are


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A command.

    Args:
        command: To be typed.
        does: The rest of a sentence that begins with it.
    """

    command: str
    does: str


def advice(found: Comparison, resume: Mapping[str, str]) -> Iterator[Advice]:
    """Yield what to do next, the most pressing first.

    Args:
        found: What a search has found.
        resume: The command that goes on, by the names of the searches that are not complete.
    """
    name = found.search.name
    if name in resume:
        yield Advice(command=resume[name], does="goes on with this search.")
    elif found.search.state is SearchState.COMPLETE:
        yield from _more_seeds(found)
    yield from longer(found)
    best = next((row for row in found.rows if row.tuned.loss and not row.tuned.failures), None)
    if best is not None:
        command = f"autotune export {written(name, best.optimizer)} --as torch"
        yield Advice(command=command, does=f"writes the tuned setting of {best.optimizer}.")


def longer(found: Comparison) -> Iterator[Advice]:
    """Yield how to find out whether tuned settings hold in longer runs, where that is not known.

    Tuned AdamW runs beside every other one, so it is not tried by itself unless it came first.
    """
    tried = {one.optimizer for one in found.validations}
    for row in found.rows:
        beside = row.optimizer == REFERENCE and row is not found.rows[0]
        if row.changed and row.tuned.loss and row.optimizer not in tried and not beside:
            study = written(found.search.name, row.optimizer)
            yield Advice(
                command=f"autotune validate {study} --steps {TIMES}",
                does=f"tells whether tuned {row.optimizer} holds in longer runs.",
            )


def _more_seeds(found: Comparison) -> Iterator[Advice]:
    """Yield how to tell apart what these seeds cannot, where the budget is in full runs."""
    runs = (found.search.spec.get("budget") or {}).get("runs")
    unclear = [row for row in found.rows if _unclear(row)]
    if runs is None or not unclear:
        return
    seeds = max(len(row.tuned.losses) for row in found.rows)
    budget = math.ceil(runs + 2 * seeds)  # default and tuned run on each of the added seeds
    command = f"{resume_command(found.search.name, None)} --seeds {2 * seeds} --runs {budget}"
    names = " and ".join(row.optimizer for row in unclear)
    does = f"judges on twice as many seeds, where these could not tell {names} from {REFERENCE}."
    yield Advice(command=command, does=does)


def _unclear(row: Row) -> bool:
    against = row.against_reference
    if against is None or against.low is None or against.high is None:
        return False
    return against.low <= 0 <= against.high
