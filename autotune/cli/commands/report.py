"""``autotune report``: the result of a search as one HTML file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from autotune.cli.shared import completion
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import say, storage, verbosity
from autotune.errors import SpecError


@click.command("report", cls=Command)
@click.argument("search", shell_complete=completion.searches)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.  [default: SEARCH.html]",
)
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@storage
@verbosity
def command(search: str, output: Path | None, force: bool, storage: str | None) -> None:
    """Write the result of a search as one HTML file.

    It holds the verdict, tables, figures and where they come from, and opens without a network.

    Example: autotune report resnet50 -o report.html
    """
    path = output or Path(f"{search}.html")
    if path.exists() and not force:
        raise SpecError(f"{path} is already there; add --force to overwrite it")
    # Imported by name: the dashboard depends on this package, not the other way round.
    import_module("autotune.app.serve").need_extra("a report")
    text = import_module("autotune.app.report").report(storage, search)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {path} ({error.strerror})") from None
    say(f"wrote {path}")
