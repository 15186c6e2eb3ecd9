"""A refined schedule as text: its figure beside the original one, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotune.cli.views import format
from autotune.cli.views.table import table
from autotune.results.refinement import Refinement
from autotune.search.refining import Computed
from autotune.training.lr_schedule import interpolated, multiplier

ROWS = 20  # intervals of the run in the figure
BAR = 40  # characters of a bar as long as the peak
COLUMNS = ("of the run", "refined", "", "original")


def preview(computed: Computed) -> str:
    """Write a schedule that nothing was trained by yet."""
    origin = computed.origin
    said = [
        f"{computed.search}: refined schedule of {computed.optimizer}, from the {origin.norm} "
        f"gradient norms of trial {origin.trial} over {computed.steps} steps",
        figure(computed.table, computed.steps, computed.warmup),
        "\n".join([_READING, *(f"doubt: {text}" for text in computed.doubts)]),
    ]
    return "\n\n".join(said)


def report(found: Refinement) -> str:
    """Write a schedule, the losses by both, and the verdict."""
    head = (
        f"{found.search}: validation {found.number}, refined schedule of {found.optimizer}, "
        f"{found.steps} steps"
    )
    rows = [
        (name, str(one.loss) if one.loss else "failed" if one.failures else format.NONE)
        for name, one in (("refined", found.refined), ("original", found.original))
    ]
    seeds = len(found.refined.losses)
    notes = [
        f"Mean ± half the 95% interval over {seeds} fresh seeds",
        _READING,
        f"{found.optimizer}: {found.provenance}",
        *found.sentences,
        *(f"doubt: {text}" for text in found.doubts),
    ]
    drawn = figure(found.table, found.steps, found.original.setting.warmup)
    losses = table([("schedule", "validation loss"), *rows])
    return "\n\n".join([head, drawn, losses, "\n".join(notes)])


_READING = "factors on the tuned lr, which is not tuned again; linear between the table's values"


def figure(values: Sequence[float], steps: int, warmup: float) -> str:
    """Draw a table over a run, with a bar for each of some shares of it.

    Args:
        values: Factors at equal distances over the run.
        steps: Steps of the run.
        warmup: Fraction of them in which lr rises by the original schedule.
    """
    return table([COLUMNS, *_rows(values, steps, warmup)])


def _rows(values: Sequence[float], steps: int, warmup: float) -> Iterator[tuple[str, ...]]:
    for step in dict.fromkeys(round(row * (steps - 1) / ROWS) for row in range(ROWS + 1)):
        now = interpolated(values, step, steps)
        yield (
            format.percent(step / max(1, steps - 1)),
            f"{now:.3f}",
            ("=" * round(BAR * now)).ljust(BAR),
            f"{multiplier(step, steps, warmup):.3f}",
        )
