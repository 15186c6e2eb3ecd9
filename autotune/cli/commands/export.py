"""``autotune export``: a tuned setting in a format that another tool reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autotune.cli.shared import completion
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import say, storage, verbosity
from autotune.cli.shared.target_options import target_of, target_options
from autotune.errors import SpecError


@click.command("export", cls=Command)
@click.argument("study", shell_complete=completion.searches)
@click.option(
    "--as",
    "form",
    required=True,
    shell_complete=completion.registered("exports"),
    help="Format: yaml, json, torch, ...; autotune list exports describes them.",
)
@click.option(
    "--trial", "number", type=click.IntRange(min=0), help="Export the setting of this trial."
)
@click.option(
    "--which",
    type=click.Choice(["tuned", "default"]),
    default="tuned",
    show_default=True,
    help="Which setting to export.",
)
@click.option(
    "--schedule",
    type=click.Choice(["original", "refined"]),
    default="original",
    show_default=True,
    help="By which schedule; refined: the newest of autotune refine.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.  [default: print it]",
)
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@target_options
@storage
@verbosity
def command(
    *,
    study: str,
    form: str,
    number: int | None,
    which: str,
    schedule: str,
    output: Path | None,
    force: bool,
    storage: str | None,
    rules: tuple[str, ...],
    **target: Any,
) -> None:
    """Write a tuned setting for another tool.

    STUDY is SEARCH/OPTIMIZER, or SEARCH for its optimizer with the lowest loss. Betas are close
    to one, as in torch. For a run that is longer or has another batch, say so: the setting is
    restated by rules (docs/transfer.md, autotune list rules).

    Example: autotune export resnet50/adan --as torch -o tuned.py
    Example: autotune export resnet50 --as yaml --target-batch 1024 --target-steps 100000
    """
    if output is not None and output.exists() and not force:
        raise SpecError(f"{output} is already there; add --force to overwrite it")
    from autotune.export import stored

    exported = stored.rendered(
        storage,
        study,
        form,
        which=which,
        number=number,
        target=target_of(**target),
        rules=rules or None,
        schedule=schedule,
    )
    if exported.chosen:
        say(f"exporting {exported.study}, the lowest loss of the search")
    if output is None:
        click.echo(exported.text, nl=False)
    else:
        stored.write(storage, exported, output)
        say(f"wrote {output}")
