"""``autotune delete``: forget a search."""

from __future__ import annotations

import sys

import click

from autotune.cli import complete
from autotune.cli.help import Command
from autotune.cli.options import say, storage, talk
from autotune.errors import SpecError


@click.command("delete", cls=Command)
@click.argument("search", shell_complete=complete.searches)
@click.option("--yes", is_flag=True, help="Delete without asking.")
@storage
@talk
def command(search: str, yes: bool, storage: str | None) -> None:
    """Delete a search with its trials, Optuna's copy of them and its checkpoints.

    One that is running is refused. Exported files stay.

    Example: autotune delete resnet50
    """
    from autotune.cli import deleting

    with deleting.held(storage, search) as found:
        what = deleting.described(storage, found)
        if yes or _agreed(what):
            deleting.delete(storage, found)
            say(f"deleted {what}")
        else:
            say("nothing was deleted")


def _agreed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise SpecError(f"deleting {what} needs --yes where nobody can be asked")
    return click.confirm(f"delete {what}?", err=True)
