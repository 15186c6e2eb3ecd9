"""What ``Result.validate`` and ``Result.refine`` do: train settings of a stored search again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event
from typing import Any, TypeVar

from autotune.api.shown import form, telling
from autotune.cli.shared.interrupt import interruptible, unclaimed
from autotune.errors import SpecError
from autotune.registry import unknown
from autotune.results.refinement import Refinement
from autotune.results.validation import Validation
from autotune.search import entrants, refining, validating
from autotune.search.events import Listener
from autotune.search.stored import opened, split

Found = TypeVar("Found", Validation, Refinement)


def validate(
    asked: Mapping[str, Any],
    storage: str,
    model: Callable[..., Any] | None,
    *,
    listen: Listener | None,
    progress: str | None,
) -> Validation:
    """Validate a stored search; see ``Result.validate``."""
    _check(asked, entrants.Asked)

    def train(text: str | None, tell: Listener, halt: Event) -> Validation:
        own = entrants.Asked(**asked, model=text)
        return validating.run(own, storage, listen=tell, halt=halt)

    return _trained(train, asked["study"], storage, model, listen=listen, progress=progress)


def refine(
    asked: Mapping[str, Any],
    storage: str,
    model: Callable[..., Any] | None,
    *,
    listen: Listener | None,
    progress: str | None,
) -> Refinement:
    """Refine a schedule of a stored search; see ``Result.refine``."""
    _check(asked, refining.Asked)

    def train(text: str | None, tell: Listener, halt: Event) -> Refinement:
        own = refining.Asked(**asked, model=text)
        return refining.run(own, storage, listen=tell, halt=halt)

    return _trained(train, asked["study"], storage, model, listen=listen, progress=progress)


def _check(asked: Mapping[str, Any], kind: type[entrants.Asked | refining.Asked]) -> None:
    known = [each.name for each in dataclasses.fields(kind)]
    for key in asked:
        if key not in known:
            raise SpecError(unknown("argument", key, known))


def _trained(
    train: Callable[[str | None, Listener, Event], Found],
    study: str,
    storage: str,
    model: Callable[..., Any] | None,
    *,
    listen: Listener | None,
    progress: str | None,
) -> Found:
    """Train until the budget is spent; an interrupt saves, then raises KeyboardInterrupt."""
    shown = form(progress, listen)
    with (
        _given(study, storage, model) as text,
        interruptible(unclaimed()) as interrupt,
        telling(shown, listen, None) as tell,
    ):
        found = train(text, tell, interrupt.halt)
    if interrupt.halt.is_set() and not found.complete:
        raise KeyboardInterrupt("interrupted: finished steps are saved; the same call goes on")
    return found


@contextmanager
def _given(study: str, storage: str, model: Callable[..., Any] | None) -> Iterator[str | None]:
    """Give the text of a function for as long as it can be found by it; None without one."""
    from autotune.tasks.function import PREFIX
    from autotune.tasks.given import offered

    name, _ = split(study)
    with opened(storage) as store:
        spec = store.search(name).spec
    if model is None:
        if spec["model"].startswith(PREFIX):
            raise SpecError(
                f"search '{name}' trained a function of the process that began it: give that "
                "function again, as validate(model=...)"
            )
        yield None
        return
    with offered(model, spec["engine"]) as text:
        yield text
