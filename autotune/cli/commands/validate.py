"""``autotune validate``: does what a search found hold in longer runs?"""

from __future__ import annotations

from typing import Any

import click

from autotune.cli.shared import completion
from autotune.cli.shared.help import Command
from autotune.cli.shared.interrupt import interruptible
from autotune.cli.shared.options import QUIET, as_json, storage, verbosity
from autotune.cli.shared.stdout import reserved
from autotune.cli.views.progress import progress
from autotune.transfer import DEFAULT


@click.command("validate", cls=Command)
@click.argument("study", shell_complete=completion.searches)
@click.option(
    "--steps",
    default="5x",
    metavar="5x|N",
    show_default=True,
    help="Steps of a run, or how many times as long as the search's.",
)
@click.option("--batch", metavar="4x|N", help="Samples of a batch.  [default: the search's]")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="SET",
    shell_complete=completion.registered("rules"),
    help="Rules, joined by +, that restate the setting; repeat it to compare sets.  "
    f"[default: {'+'.join(DEFAULT)}]",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=2),
    help="Fresh seeds.  [default: those the search judges on]",
)
@click.option(
    "--settings",
    type=click.IntRange(min=0),
    default=0,
    help="Also rank this many settings of the search in the longer runs.",
)
@click.option("--runs", type=float, help="Limit in runs of that length.  [default: what it needs]")
@click.option("--minutes", type=float, help="Limit in minutes; it goes on with more seeds.")
@click.option("--workers", type=click.IntRange(min=1), help="Runs side by side.")
@progress
@storage
@as_json
@verbosity
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    study: str,
    rules: tuple[str, ...],
    progress: str,
    storage: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Train what a search found for longer, on fresh seeds, beside what it has to beat.

    STUDY is SEARCH/OPTIMIZER, or SEARCH for its optimizer with the lowest loss. Its tuned setting,
    restated by rules (docs/transfer.md), runs beside its default and tuned AdamW. To go on after an
    interrupt, repeat the command.

    Example: autotune validate resnet50 --steps 5x --minutes 60
    Example: autotune validate mlp/adan --steps 3x --rule default --rule literature --settings 6
    """
    with interruptible() as interrupt, reserved() as stdout:
        from autotune.cli.commands import run_validation

        form = "off" if ctx.meta.get(QUIET) else progress
        sets = [tuple(each.split("+")) for each in rules] or None
        ended = run_validation.run(study, sets, given, storage, form, interrupt)
        if ended.text(as_json) is not None:
            click.echo(ended.text(as_json), file=stdout)
    ctx.exit(ended.exit_code)
