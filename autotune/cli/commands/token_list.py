"""``autotune token list``: who may call the service."""

from __future__ import annotations

import click

from autotune.cli.shared.help import Command
from autotune.cli.shared.options import as_json, say, storage, verbosity
from autotune.cli.views import tokens as view
from autotune.cli.views.json import document


@click.command("list", cls=Command)
@storage
@as_json
@verbosity
def command(storage: str | None, as_json: bool) -> None:
    """List tokens, also those that are not taken any more. Their text is not known.

    Example: autotune token list
    """
    from autotune.search.stored import opened
    from autotune.studies import tokens

    with opened(storage) as store:
        found = tokens.listed(store)
    if as_json:
        click.echo(document(tokens=found))
    elif found:
        click.echo(view.text(found))
    else:
        say("no tokens; make one with: autotune token create NAME")
