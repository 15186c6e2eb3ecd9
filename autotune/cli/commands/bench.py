"""``autotune bench``: measurements on this machine, each a command."""

from __future__ import annotations

import click

from autotune.cli.shared.group import Modules


class Benchmarks(Modules):
    """The benchmarks."""

    names = ("step", "search", "record")
    prefix = "bench_"


@click.group("bench", cls=Benchmarks)
def command() -> None:
    """Measure what is here, on this machine.

    Example: autotune bench step --shapes resnet50
    """
