"""A validation as text: settings with their losses in the longer runs, and what follows."""

from __future__ import annotations

from collections.abc import Iterator

from autotune.cli.views import format
from autotune.cli.views.comparison import SETTING, setting
from autotune.cli.views.table import table, widest
from autotune.results.validation import Longer, Validation

WHO = ("optimizer", "setting", "rules")
LOSS = "validation loss"


def report(validation: Validation, width: int) -> str:
    """Write a validation for a screen of ``width`` columns."""
    return f"{_title(validation)}\n\n{_tables(validation, width)}\n\n{_notes(validation)}"


def _title(validation: Validation) -> str:
    batch = f", batch {validation.batch_size}" if validation.batch_size else ""
    return (
        f"{validation.search}: validation {validation.number}, {validation.steps} steps "
        f"({validation.times:.4g}x){batch}"
    )


def _tables(validation: Validation, width: int) -> str:
    lines = [_line(each) for each in validation.settings]
    settings = [name for name in SETTING if any(line[name] != format.NONE for line in lines)]
    whole = _table(lines, (*WHO, *settings, LOSS))
    if widest(whole) <= width:
        return whole
    return f"{_table(lines, (*WHO, LOSS))}\n\n{_table(lines, (*WHO, *settings))}"


def _table(lines: list[dict[str, str]], columns: tuple[str, ...]) -> str:
    return table([columns, *([line[name] for name in columns] for line in lines)])


def _line(each: Longer) -> dict[str, str]:
    rules = format.NONE if each.rules is None else "+".join(each.rules) or "none"
    loss = str(each.loss) if each.loss else "failed" if each.failures else format.NONE
    return {
        **setting(each.setting.hyper, each.setting.warmup),
        "optimizer": each.optimizer,
        "setting": each.which,
        "rules": rules,
        LOSS: loss,
    }


def _notes(validation: Validation) -> str:
    seeds = max((len(each.losses) for each in validation.settings), default=0)
    plural = "seed" if seeds == 1 else "seeds"
    mean = f"Mean ± half the 95% interval over up to {seeds} fresh {plural}; " if seeds else ""
    return "\n".join([f"{mean}betas are close to one", *_said(validation)])


def _said(validation: Validation) -> Iterator[str]:
    yield from validation.sentences
    yield from (f"doubt: {text}" for text in validation.doubts)
