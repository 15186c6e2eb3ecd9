"""``autotune list``: the searches of a database, or the names that options accept."""

from __future__ import annotations

import click

from autotune.cli.shared import catalog
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import as_json, say, storage, verbosity
from autotune.cli.views.json import document
from autotune.cli.views.table import table

KINDS = ("searches", *catalog.GROUPS)


@click.command("list", cls=Command)
@click.argument("kind", type=click.Choice(KINDS), default="searches", metavar="[KIND]")
@storage
@as_json
@verbosity
def command(kind: str, storage: str | None, as_json: bool) -> None:
    """List searches, or the names that options accept.

    KIND is searches, optimizers, controllers, models, exports, samplers, pruners,
    engines or rules.
    Optimizers of other packages are known by their dotted names, as
    torch.optim.RMSprop, and not listed.

    Example: autotune list
    Example: autotune list optimizers
    """
    if kind == "searches":
        _searches(storage, as_json)
    else:
        _registered(kind, as_json)


def _registered(kind: str, as_json: bool) -> None:
    found = catalog.descriptions(kind)
    if as_json:
        items = [{"name": name, "summary": line} for name, line in found.items()]
        click.echo(document(**{kind: items}))
    else:
        click.echo(table([("name", "description"), *found.items()]))


def _searches(storage: str | None, as_json: bool) -> None:
    from autotune.cli.views import list

    content = list.searches(storage)
    if as_json:
        click.echo(document(**content))
    elif content["searches"]:
        click.echo(list.text(content))
        hint = list.hint(content)
        if hint:
            say(hint)
    else:
        say("no searches yet; begin one with: autotune search --model gpt-nano --minutes 1")
