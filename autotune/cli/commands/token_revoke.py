"""``autotune token revoke``: let somebody call the service no more."""

from __future__ import annotations

import click

from autotune.cli.shared.help import Command
from autotune.cli.shared.options import say, storage, verbosity


@click.command("revoke", cls=Command)
@click.argument("id", type=click.IntRange(0))
@storage
@verbosity
def command(id: int, storage: str | None) -> None:
    """Revoke a token, at once and for good. ID is its number in autotune token list.

    Example: autotune token revoke 3
    """
    from autotune.search.stored import opened
    from autotune.studies import tokens, urls
    from autotune.studies.store import Store

    with opened(storage):  # one that is not there is not made
        pass
    with Store(urls.resolve(storage)) as store:
        gone = tokens.revoke(store, id)
    say(f"token {gone.id} ('{gone.name}') is revoked")
