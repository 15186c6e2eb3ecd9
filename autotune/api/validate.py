"""A validation from Python: what ``Result.validate`` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from autotune.api.shown import form, telling
from autotune.cli.shared.interrupt import interruptible, unclaimed
from autotune.errors import SpecError
from autotune.registry import unknown
from autotune.results.validation import Validation
from autotune.search import validating
from autotune.search.entrants import Asked
from autotune.search.events import Listener
from autotune.search.stored import opened, split


def validate(
    asked: Mapping[str, Any],
    storage: str,
    model: Callable[..., Any] | None,
    *,
    listen: Listener | None,
    progress: str | None,
) -> Validation:
    """Validate a stored search; see ``Result.validate``."""
    known = [each.name for each in dataclasses.fields(Asked)]
    for key in asked:
        if key not in known:
            raise SpecError(unknown("argument", key, known))
    shown = form(progress, listen)
    with (
        _given(asked["study"], storage, model) as text,
        interruptible(unclaimed()) as interrupt,
        telling(shown, listen, None) as tell,
    ):
        found = validating.run(
            Asked(**asked, model=text), storage, listen=tell, halt=interrupt.halt
        )
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
