"""``autotune token create``: let somebody call the service."""

from __future__ import annotations

import click

from autotune.cli.shared.help import Command
from autotune.cli.shared.options import as_json, say, storage, verbosity
from autotune.cli.views.json import document

SCOPES = ("read", "work", "admin")


@click.command("create", cls=Command)
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="work",
    show_default=True,
    help="read: look; work: also begin searches and train trials; admin: all.",
)
@click.option("--search", metavar="NAME", help="The only search that it is for.")
@click.option("--days", type=float, help="Days until it expires.  [default: never]")
@storage
@as_json
@verbosity
def command(
    name: str,
    scope: str,
    search: str | None,
    days: float | None,
    storage: str | None,
    as_json: bool,
) -> None:
    """Make a token called NAME and print it, once: only a checksum of it is stored.

    Give it to a client as AUTOTUNE_TOKEN, or in the header Authorization: Bearer TOKEN.

    Example: autotune token create gpus
    Example: autotune token create alice --scope read --search resnet50 --days 30
    """
    from autotune.studies import tokens, urls
    from autotune.studies.store import Store

    with Store(urls.resolve(storage)) as store:
        first = not tokens.any_made(store)
        kind = tokens.Scope(scope)
        made, text = tokens.create(store, name, kind, search=search, days=days)
    if first:
        say("from now on a service of this database answers nobody without a token")
    click.echo(document(token=made, secret=text) if as_json else text)
