"""``autotune import``: settings of another tool's runs, for a search to try first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autotune.cli.shared.completion import registered
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import say, verbosity
from autotune.cli.shared.output import output_options, refuse_there, write
from autotune.cli.shared.trailing import pairs

if TYPE_CHECKING:
    from autotune.importing import Imported


@click.command("import", cls=Command)
@click.argument("source")
@click.option(
    "--optimizer",
    metavar="NAME",
    shell_complete=registered("optimizers"),
    help="Optimizer of the runs.  [default: what each run says]",
)
@click.option("--study", metavar="NAME", help="Study of Optuna, where there are several.")
@click.option("--metric", metavar="NAME", help="Column or result that runs are ranked by.")
@click.option("--maximize", is_flag=True, help="More of it is better.")
@click.option("--top", type=int, default=5, show_default=True, help="Settings to take.")
@click.option(
    "--map", "mapping", multiple=True, callback=pairs, metavar="NAME=OURS", help="What NAME means."
)
@click.option("--ignore", multiple=True, metavar="NAME", help="Leave this parameter out.")
@click.option(
    "--constant",
    "constants",
    multiple=True,
    callback=pairs,
    metavar="OURS=VALUE",
    help="What all runs had without saying it, such as weight_decay=0.1.",
)
@output_options("print it")
@verbosity
def command(
    *,
    source: str,
    mapping: dict[str, str],
    constants: dict[str, str],
    output: Path | None,
    force: bool,
    **how: Any,
) -> None:
    """Take the best settings of another tool's runs, for a search to try first.

    SOURCE is a database or journal of Optuna, a CSV of W&B or of a data frame, an experiment folder
    of Ray Tune, or JSON of autotune export --top. Losses of another task rank its settings and go
    no further. Words of torch, timm and Hugging Face are understood; map others.

    Example: autotune import sqlite:///optuna.db --study vit --optimizer adamw -o known.json
    Example: autotune import sweep.csv --metric val_loss --optimizer adan --map wdecay=weight_decay
    """
    refuse_there(output, force)
    from autotune import importing

    asked = importing.Reading(mapping=mapping, constants=constants, **how)
    found = importing.read(source, asked)
    _tell(found)
    text = importing.written(found)
    if output is None:
        click.echo(text, nl=False)
        return
    write(output, text)
    say(f"wrote {output}; try them with: autotune search --try-first {output} ...")


def _tell(found: Imported) -> None:
    """Say what was taken, what was not, and what the runs do not say."""
    out = "".join(f", {count} {why}" for why, count in found.left_out.items())
    say(f"{found.source}: {found.runs} runs{out}; took {len(found.settings)}")
    if found.unread:
        say(f"not read: {', '.join(found.unread)}")
    if found.unsaid:
        say(f"no run says {', '.join(found.unsaid)}: the optimizer's defaults are taken")
