"""``autotune tell``: an order to all workers of a search."""

from __future__ import annotations

import click

from autotune.cli.shared.completion import searches
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import say, storage, verbosity

WORDS = ("stop", "pause", "continue")


@click.command("tell", cls=Command)
@click.argument("search", shell_complete=searches)
@click.argument("word", type=click.Choice(WORDS))
@storage
@verbosity
def command(search: str, word: str, storage: str | None) -> None:
    """Tell all workers of a search to stop, pause or continue.

    They obey within about 15 seconds and save their trials. Workers that join later obey as well,
    until autotune tell SEARCH continue or autotune search --resume SEARCH.

    Example: autotune tell resnet50 stop
    """
    from autotune.search import orders
    from autotune.studies.records import Command as Order

    complete = orders.is_complete(storage, search)
    orders.give(storage, search, Order(word))
    if complete:
        say(f"search '{search}' is complete: nothing runs that could {word}")
    else:
        say(f"the workers of '{search}' are told to {word}")
