"""``autotune report``: the result of a search as one HTML file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from autotune.cli.shared import completion
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import say, storage, verbosity
from autotune.cli.shared.output import output_options, refuse_there, write


@click.command("report", cls=Command)
@click.argument("search", shell_complete=completion.searches)
@output_options("SEARCH.html")
@storage
@verbosity
def command(search: str, output: Path | None, force: bool, storage: str | None) -> None:
    """Write the result of a search as one HTML file.

    It holds the verdict, tables, figures and where they come from, and opens without a network.

    Example: autotune report resnet50 -o report.html
    """
    path = output or Path(f"{search}.html")
    refuse_there(path, force)
    # Imported by name: the dashboard depends on this package, not the other way round.
    import_module("autotune.app.serve").need_extra("a report")
    text = import_module("autotune.app.report").report(storage, search)
    write(path, text)
    say(f"wrote {path}")
