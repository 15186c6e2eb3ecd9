"""``autotune bench``: what this project is worth, measured beside others."""

from __future__ import annotations

import click

from autotune.cli.bench_search import command as search


@click.group("bench")
def command() -> None:
    """Measure this project beside others.

    Example: autotune bench search --table FILE.npz
    """


command.add_command(search)
