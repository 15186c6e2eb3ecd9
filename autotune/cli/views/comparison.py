"""The comparison at the end of a search: settings, losses with intervals, verdicts in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from autotune.cli.views import format
from autotune.cli.views.table import table, widest

if TYPE_CHECKING:
    from autotune.results.comparison import Comparison, Contender, Row
    from autotune.results.intervals import Estimate

WHO = ("optimizer", "setting")
SETTING = ("lr", "weight decay", "betas", "gammas", "warm-up")
OUTCOME = ("validation loss", "accuracy", "tuned - default")


def report(comparison: Comparison, width: int) -> str:
    """Write a comparison for a screen of ``width`` columns."""
    return f"{_title(comparison)}\n\n{_tables(comparison, width)}\n\n{_notes(comparison)}"


def _title(comparison: Comparison) -> str:
    search = comparison.search
    task = search.task
    # A function that brings its own data is named once.
    data = task.get("data")
    on = f" on {data}" if data and data != task.get("model") else ""
    steps = f", {task['steps']} steps" if task.get("steps") else ""
    return f"{search.name}: {task.get('model', search.name)}{on}{steps}"


def _tables(comparison: Comparison, width: int) -> str:
    lines = [line for row in comparison.rows for line in _lines(row)]
    settings = [name for name in SETTING if any(line[name] != format.NONE for line in lines)]
    whole = _table(lines, (*WHO, *settings, *OUTCOME))
    if widest(whole) <= width:
        return whole
    return f"{_table(lines, (*WHO, *OUTCOME))}\n\n{_table(lines, (*WHO, *settings))}"


def _table(lines: list[dict[str, str]], columns: tuple[str, ...]) -> str:
    return table([columns, *([line[name] for name in columns] for line in lines)])


def _lines(row: Row) -> Iterator[dict[str, str]]:
    yield _line(row.default) | {
        "optimizer": row.optimizer,
        "setting": row.default.word,
        "tuned - default": "",
    }
    if row.changed:
        yield _line(row.tuned) | {
            "optimizer": "",
            "setting": "tuned",
            "tuned - default": _signed(row.difference),
        }


def _line(contender: Contender) -> dict[str, str]:
    return {
        **setting(contender.setting.hyper, contender.setting.warmup),
        "validation loss": _estimate(contender),
        "accuracy": format.accuracy(contender.accuracy.mean if contender.accuracy else None),
    }


def setting(hyper: Mapping[str, Any], warmup: float | None) -> dict[str, str]:
    """Write the parts of a setting, by column of the table."""
    return {
        "lr": format.number(hyper.get("lr")),
        "weight decay": format.number(hyper.get("weight_decay")),
        "betas": format.betas(hyper),
        "gammas": format.gammas(hyper),
        "warm-up": format.percent(warmup),
    }


def _estimate(contender: Contender) -> str:
    if contender.loss is None:
        return "failed" if contender.failures else format.NONE
    return str(contender.loss)


def _signed(difference: Estimate | None) -> str:
    if difference is None:
        return format.NONE
    return str(difference) if difference.mean < 0 else f"+{difference}"


def _notes(comparison: Comparison) -> str:
    counts = {len(c.losses) for row in comparison.rows for c in (row.default, row.tuned)} - {0}
    ends = sorted({min(counts), max(counts)}) if counts else []
    seeds = " to ".join(map(str, ends))
    plural = "seed" if ends == [1] else "seeds"
    mean = f"Mean ± half the 95% interval over {seeds} fresh {plural}; " if seeds else ""
    tried = [comparison.tried] if comparison.tried else []
    return "\n".join([f"{mean}betas are close to one", *tried, *comparison.sentences])
