"""``autotune bench step``: how long a step takes, here and in other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autotune.bench.step.workload import Options, Workload
from autotune.cli.shared.failures import INTERRUPTED
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import as_json, say, verbosity
from autotune.cli.shared.step_options import step_options
from autotune.cli.views.json import document
from autotune.errors import SpecError


@click.command("step", cls=Command)
@step_options
@as_json
@verbosity
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    shapes: str,
    dtype: str,
    device: str | None,
    threads: int,
    save: Path | None,
    as_json: bool,
    **others: Any,
) -> None:
    """Time optimizer steps, and compare them with those of other packages.

    Optimizers take turns in several rounds. All printed numbers were measured in this run.

    Example: autotune bench step --shapes resnet50 --optimizer adan
    Example: autotune bench step --shapes small --against none --json
    """
    if save is not None and not save.parent.is_dir():
        raise SpecError(f"--save must name a file in a folder that exists, got {save}")
    from autotune.bench import machine
    from autotune.bench.step import measure as step
    from autotune.cli.views.step_times import report

    where = device or machine.default()
    workload = Workload(shapes=shapes, dtype=dtype, device=where, threads=threads)
    result = step.run(Options(workload=workload, **others), say)
    text = document(bench=result)
    if save is not None:
        save.write_text(f"{text}\n", encoding="utf-8")
    click.echo(text if as_json else report(result))
    if result.rounds < result.rounds_planned:
        ctx.exit(INTERRUPTED)
