"""``autotune serve``: searches over HTTP."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from autotune.cli.shared.help import Command
from autotune.cli.shared.options import storage, verbosity
from autotune.errors import MissingExtra

FILE = click.Path(path_type=Path)


@click.command("serve", cls=Command)
@click.option(
    "--listen",
    default="127.0.0.1:8400",
    show_default=True,
    metavar="HOST:PORT",
    help="Address to listen on; port 0 takes a free one.",
)
@click.option("--tls-cert", type=FILE, metavar="FILE", help="Certificate, with its chain, in PEM.")
@click.option("--tls-key", type=FILE, metavar="FILE", help="Its key, if not in the same file.")
@click.option(
    "--plain-http",
    is_flag=True,
    help="Let others connect without TLS: a proxy has it, or the network is trusted.",
)
@click.option(
    "--rate",
    type=float,
    default=200.0,
    show_default=True,
    help="Requests a second of one token; 0: any number.",
)
@click.option(
    "--log-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="What a line of the log on stderr is.",
)
@storage
@verbosity
@click.pass_context
def command(ctx: click.Context, /, *, storage: str | None, **given: Any) -> None:
    """Let workers ask for trials over HTTP.

    They train them wherever they like and tell the losses; docs/service.md shows it. SIGTERM or
    Ctrl-C ends the server once the requests under way are answered: nothing is lost, and it may be
    started again. One server can use an SQLite file, several a PostgreSQL database. To be reached
    from other machines it needs a token (autotune token create) and TLS.

    Example: autotune serve --listen 127.0.0.1:8400
    Example: autotune serve --listen 0.0.0.0:8400 --tls-cert server.pem --tls-key server.key
    """
    from autotune.studies import urls

    # Imported by name: the service depends on what is below, nothing depends on it.
    missing = import_module("autotune.service").missing()
    if missing:
        raise MissingExtra(missing)
    server = import_module("autotune.service.server")
    try:
        ctx.exit(server.serve(urls.resolve(storage), server.Options(**given)))
    except KeyboardInterrupt:  # the usual way to stop a server
        ctx.exit(0)
