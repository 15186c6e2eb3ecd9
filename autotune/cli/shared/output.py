"""Files that a command writes: never over one that is there, unless asked to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from autotune.errors import SpecError


def output_options(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --output and --force to a command.

    Args:
        default: What happens without a file, as help says it.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        force = click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
        output = click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            help=f"File to write.  [default: {default}]",
        )
        return output(force(command))

    return add


def refuse_there(path: Path | None, force: bool) -> None:
    """Refuse to write over a file; raises SpecError."""
    if path is not None and path.exists() and not force:
        raise SpecError(f"{path} is already there; add --force to overwrite it")


def write(path: Path, text: str) -> None:
    """Write a text to a file; raises SpecError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {path} ({error.strerror})") from None
