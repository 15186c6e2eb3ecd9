"""A stored setting rendered for another tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.errors import SpecError
from autotune.export import render, render_best
from autotune.results import best as ranking
from autotune.results.best import Ranked
from autotune.results.restated import restated
from autotune.results.tuned import Tuned, tuned
from autotune.search.stored import opened, split, studies
from autotune.studies import urls
from autotune.studies.store import Store
from autotune.transfer.targets import Target


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An export, and the study it is of."""

    text: str
    form: str
    study: str
    chosen: bool  # whether the optimizer was chosen by its loss rather than named
    count: int = 1  # settings in it


def rendered(
    storage: str | None,
    study: str,
    form: str,
    *,
    which: str,
    number: int | None,
    target: Target | None = None,
    rules: Sequence[str] | None = None,
) -> Exported:
    """Render a setting of a study in a registered form, restated where a target is given."""
    name, optimizer = split(study)
    found = _for_target(record(storage, name, optimizer, which=which, number=number), target, rules)
    return Exported(
        text=render(found, form),
        form=form,
        study=f"{name}/{found.optimizer}",
        chosen=optimizer is None,
    )


def best(
    storage: str | None,
    study: str,
    form: str,
    *,
    count: int,
    target: Target | None = None,
    rules: Sequence[str] | None = None,
) -> Exported:
    """Render the best settings of a study, each restated where a target is given.

    Args:
        storage: The database.
        study: SEARCH/OPTIMIZER, or SEARCH for its optimizer with the lowest loss.
        form: Name of an export that holds several settings.
        count: How many; fewer where the search ran fewer to their end.
        target: The run that they are wanted for.
        rules: To restate by; None: the default ones.

    Raises:
        SpecError: The form holds one setting only, or the target cannot be restated for.
        NothingUsable: No setting was run to its last step.
    """
    name, optimizer = split(study)
    found = [
        replace(one, record=_for_target(one.record, target, rules))
        for one in ranked(storage, name, optimizer, count)
    ]
    return Exported(
        text=render_best(found, form),
        form=form,
        study=f"{name}/{found[0].record.optimizer}",
        chosen=optimizer is None,
        count=len(found),
    )


def ranked(storage: str | None, name: str, optimizer: str | None, count: int) -> tuple[Ranked, ...]:
    """Return the best settings of an optimizer of a stored search; raises as ``results.best``."""
    if count < 1:
        raise SpecError(f"top must be at least 1, got {count}")
    with opened(storage) as store:
        return ranking.best(store, name, optimizer, count)


def _for_target(found: Tuned, target: Target | None, rules: Sequence[str] | None) -> Tuned:
    if target:
        return restated(found, target, rules)
    if rules is not None:
        raise SpecError(
            f"a rule restates a setting for a target, which is not given, got {' '.join(rules)}; "
            "add --target-steps, --target-batch or another one"
        )
    return found


def record(
    storage: str | None,
    name: str,
    optimizer: str | None = None,
    *,
    which: str = "tuned",
    number: int | None = None,
) -> Tuned:
    """Return a setting of a stored search; without an optimizer, of the one with the lowest loss.

    Raises:
        NotFound: The search, the optimizer or the trial is not there.
        NothingUsable: No run speaks for the setting.
    """
    with opened(storage) as store:
        return tuned(store, name, optimizer, which, trial=number)


def write(storage: str | None, exported: Exported, file: Path) -> None:
    """Write an export to a file, and remember in the store that it was written."""
    try:
        file.write_text(exported.text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {file} ({error.strerror})") from None
    name, optimizer = split(exported.study)
    with Store(urls.resolve(storage)) as store:
        (study,) = studies(store.search(name), optimizer)
        store.add_export(study.id, exported.form, str(file.absolute()), exported.text)
