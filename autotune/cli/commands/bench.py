"""``autotune bench``: the group of benchmarks."""

from __future__ import annotations

import click

from autotune.cli.shared.group import Modules


class Benchmarks(Modules):
    """The benchmarks."""

    names = ("step", "search", "record")
    prefix = "bench_"


@click.group("bench", cls=Benchmarks)
def command() -> None:
    """Benchmark optimizer steps and searches on this machine.

    Example: autotune bench step --shapes resnet50
    """
