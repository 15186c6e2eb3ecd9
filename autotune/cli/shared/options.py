"""Options that several commands share, each a decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from autotune.cli.shared.failures import DEBUG

QUIET = "autotune.quiet"

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _remember(key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        ctx.meta[key] = value

    return callback


def _verbose(_: click.Context, __: click.Parameter, count: int) -> None:
    if count:
        import logging

        level = logging.INFO if count == 1 else logging.DEBUG
        logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")


def talk(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --debug, --verbose and --quiet, which every command takes."""
    for option in (
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=_remember(QUIET),
            help="Say nothing on stderr but errors.",
        ),
        click.option(
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            callback=_verbose,
            help="Log more on stderr; twice for everything.",
        ),
        click.option(
            "--debug",
            is_flag=True,
            expose_value=False,
            callback=_remember(DEBUG),
            help="Show the traceback of an error (also AUTOTUNE_DEBUG=1).",
        ),
    ):
        command = option(command)
    return command


storage: Decorator = click.option(
    "--storage",
    envvar="AUTOTUNE_STORAGE",
    show_envvar=True,
    metavar="URL",
    help="Database of searches.  [default: sqlite:///autotune.db]",
)

as_json: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of a table."
)


def say(text: str) -> None:
    """Tell a person something on stderr, unless --quiet."""
    if not click.get_current_context().meta.get(QUIET):
        click.echo(text, err=True)
