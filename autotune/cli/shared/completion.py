"""Names that a shell completes, from the registry and the store, without loading torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from autotune.errors import AutotuneError

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _matching(names: Iterable[str], start: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(start)]


def registered(group: str) -> Complete:
    """Complete the registered names of a group."""

    def complete(_: click.Context, __: click.Parameter, start: str) -> list[CompletionItem]:
        from autotune.cli.shared.catalog import names

        return _matching(names(group), start)

    return complete


def searches(ctx: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """Complete the names of stored searches; none if the database cannot be read."""
    from autotune.search.stored import opened

    url = ctx.params.get("storage") or os.environ.get("AUTOTUNE_STORAGE")
    try:
        with opened(url) as store:
            return _matching([search.name for search in store.searches()], start)
    except AutotuneError:
        return []
