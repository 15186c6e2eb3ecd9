"""What a search would refuse of a setting, refused where it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from autotune import registry
from autotune.errors import SpecError, UnknownName
from autotune.importing import names
from autotune.registry import near
from autotune.space.accepted import as_torch, refuse_arguments
from autotune.space.controlled import is_word
from autotune.studies.earlier import Earlier
from autotune.studies.messages import translate

if TYPE_CHECKING:
    from autotune.importing import Reading
    from autotune.importing.base import Runs


def check_setting(entry: Mapping[str, Any], said: str) -> None:
    """Refuse an entry of a spec that no search takes.

    Args:
        entry: As ``try_first`` has it.
        said: What it was read from; begins the sentence.

    Raises:
        SpecError: A value is none that its optimizer takes.
        UnknownName: There is no such optimizer, or it has no argument of that name.
    """
    try:
        one = Earlier.model_validate(entry)
    except ValidationError as error:
        raise SpecError(f"{said}: {translate(error, Earlier)}") from None
    registry.check_optimizer(one.optimizer)
    words = {name: None for name in one.hyper if is_word(name)}
    refuse_arguments(one.optimizer, as_torch(one.hyper), words, said)


def check_asked(how: Reading, runs: Runs) -> None:
    """Refuse names that no run has, and a constant that every run says itself.

    Args:
        how: What was asked.
        runs: What was read.

    Raises:
        UnknownName: ``--map`` or ``--ignore`` is of no parameter of a run.
        SpecError: A constant would change nothing.
    """
    shapes = {tuple(run.values) for run in runs.found}
    known = {name for shape in shapes for name in shape}
    _check_names("--map", how.mapping, known, runs)
    _check_names("--ignore", how.ignore, known, runs)
    for word in how.constants:
        if shapes and all(_says(shape, word, how) for shape in shapes):
            raise SpecError(
                f"--constant {word}: every run of {runs.source} says {word} itself; leave it out"
            )


def _check_names(option: str, given: Iterable[str], known: set[str], runs: Runs) -> None:
    for name in given:
        if known and name not in known:
            raise UnknownName(
                f"{option}: no run of {runs.source} has '{name}'{near(name, sorted(known))}"
            )


def _says(shape: tuple[str, ...], word: str, how: Reading) -> bool:
    names_left = (name for name in shape if name not in how.ignore)
    return any((how.mapping.get(name) or names.plain(name)) == word for name in names_left)
