"""Options that several commands share, as decorators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from autotune.cli.shared.failures import DEBUG
from autotune.cli.shared.stderr import tell

QUIET = "autotune.quiet"

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _store(key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        ctx.meta[key] = value

    return callback


def _verbose(_: click.Context, __: click.Parameter, count: int) -> None:
    if count:
        import logging

        level = logging.INFO if count == 1 else logging.DEBUG
        logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")


def verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --debug, --verbose and --quiet to a command."""
    for option in (
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=_store(QUIET),
            help="Print only errors on stderr.",
        ),
        click.option(
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            callback=_verbose,
            help="Log more on stderr; -vv logs everything.",
        ),
        click.option(
            "--debug",
            is_flag=True,
            expose_value=False,
            callback=_store(DEBUG),
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
    "--json", "as_json", is_flag=True, help="Print JSON instead of text."
)


def say(text: str) -> None:
    """Print a message on stderr, unless --quiet was given."""
    if not click.get_current_context().meta.get(QUIET):
        tell(text)
