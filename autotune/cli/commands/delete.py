"""``autotune delete``: delete a search."""

from __future__ import annotations

import sys

import click

from autotune.cli.shared import completion
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import say, storage, verbosity
from autotune.errors import SpecError


@click.command("delete", cls=Command)
@click.argument("search", shell_complete=completion.searches)
@click.option("--yes", is_flag=True, help="Delete without asking.")
@storage
@verbosity
def command(search: str, yes: bool, storage: str | None) -> None:
    """Delete a search with its trials and checkpoints, also from Optuna's tables.

    A running search is refused. Exported files are kept.

    Example: autotune delete resnet50
    """
    from autotune.search import delete

    with delete.held(storage, search) as found:
        what = delete.described(storage, found)
        if yes or _confirmed(what):
            delete.delete(storage, found)
            say(f"deleted {what}")
        else:
            say("nothing was deleted")


def _confirmed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise SpecError(f"deleting {what} needs --yes where nobody can be asked")
    return click.confirm(f"delete {what}?", err=True)
