"""``autotune serve``: searches over HTTP."""

from __future__ import annotations

from importlib import import_module

import click

from autotune.cli.shared.help import Command
from autotune.cli.shared.options import storage, verbosity
from autotune.errors import MissingExtra


@click.command("serve", cls=Command)
@click.option(
    "--listen",
    default="127.0.0.1:8400",
    show_default=True,
    metavar="HOST:PORT",
    help="Address to listen on, of this machine only; port 0 takes a free one.",
)
@storage
@verbosity
@click.pass_context
def command(ctx: click.Context, listen: str, storage: str | None) -> None:
    """Let workers ask for trials over HTTP.

    They train them wherever they like and tell the losses; docs/service.md shows it. SIGTERM or
    Ctrl-C ends the server once the requests under way are answered: nothing is lost, and it may be
    started again. One server can use an SQLite file, several a PostgreSQL database.

    Example: autotune serve --listen 127.0.0.1:8400
    """
    from autotune.studies import urls

    # Imported by name: the service depends on what is below, nothing depends on it.
    missing = import_module("autotune.service").missing()
    if missing:
        raise MissingExtra(missing)
    try:
        ctx.exit(import_module("autotune.service.server").serve(urls.resolve(storage), listen))
    except KeyboardInterrupt:  # the usual way to stop a server
        ctx.exit(0)
