"""Write docs/cli.md, the reference of the command line, from what --help says."""

from __future__ import annotations

from pathlib import Path

import click

from autotune.cli import main

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100


def page() -> str:
    """Return the reference page."""
    settings = {**main.context_settings, "terminal_width": WIDTH}
    root = click.Context(main, info_name="autotune", **settings)
    parts = [f"# Command line\n\nMade by `docs/make_cli.py` from `--help`.\n\n{_help(root)}"]
    for name in main.list_commands(root):
        command = main.get_command(root, name)
        if command is not None:
            below = click.Context(command, info_name=name, parent=root, **settings)
            parts.append(f"## autotune {name}\n\n{_help(below)}")
    return "\n".join(parts)


def _help(ctx: click.Context) -> str:
    return f"```\n{ctx.get_help().strip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
