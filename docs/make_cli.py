"""Write docs/cli.md, the reference of the command line, from what --help says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from autotune.cli import main

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100


def page() -> str:
    """Return the reference page."""
    settings = {**main.context_settings, "terminal_width": WIDTH}
    root = click.Context(main, info_name="autotune", **settings)
    opening = f"# Command line\n\nMade by `docs/make_cli.py` from `--help`.\n\n{_help(root)}"
    return "\n".join([opening, *_below(root, settings)])


def _below(parent: click.Context, settings: dict[str, Any]) -> Iterator[str]:
    """Give a part for each command of a group, and of the groups in it."""
    group = parent.command
    for name in group.list_commands(parent) if isinstance(group, click.Group) else ():
        command = group.get_command(parent, name)
        if command is not None:
            context = click.Context(command, info_name=name, parent=parent, **settings)
            yield f"## {context.command_path}\n\n{_help(context)}"
            yield from _below(context, settings)


def _help(ctx: click.Context) -> str:
    return f"```\n{ctx.get_help().strip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
