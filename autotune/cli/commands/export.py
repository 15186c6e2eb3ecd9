"""``autotune export``: a tuned setting in a format that another tool reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autotune.cli.shared import completion
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import say, storage, verbosity
from autotune.cli.shared.output import output_options, refuse_there
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
    help="Which setting to export.  [default: tuned]",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="Export the N best settings, the tuned one first; as json or optuna.",
)
@click.option(
    "--schedule",
    type=click.Choice(["original", "refined"]),
    default="original",
    show_default=True,
    help="By which schedule; refined: the newest of autotune refine.",
)
@output_options("print it")
@target_options
@storage
@verbosity
def command(
    *,
    study: str,
    form: str,
    number: int | None,
    which: str | None,
    schedule: str,
    top: int | None,
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
    Example: autotune export resnet50/adan --top 5 --as optuna -o continued.py
    """
    refuse_there(output, force)
    from autotune.export import stored

    aim, by = target_of(**target), rules or None
    if top is None:
        exported = stored.rendered(
            storage,
            study,
            form,
            which=which or "tuned",
            number=number,
            target=aim,
            rules=by,
            schedule=schedule,
        )
    else:
        chosen = {"--which": which, "--trial": number, "--schedule": schedule != "original" or None}
        for given in (name for name, value in chosen.items() if value is not None):
            raise SpecError(f"{given} is about one setting and --top the best {top}; leave one out")
        exported = stored.best(storage, study, form, count=top, target=aim, rules=by)
        if exported.count < top:
            say(f"no more than {exported.count} of its settings were run to their last step")
    if exported.chosen:
        say(f"exporting {exported.study}, the lowest loss of the search")
    if output is None:
        click.echo(exported.text, nl=False)
    else:
        stored.write(storage, exported, output)
        say(f"wrote {output}")
