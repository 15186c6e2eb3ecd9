"""``autotune refine``: a learning-rate schedule from the gradient norms of a search's best run."""

from __future__ import annotations

from typing import Any

import click

from autotune.cli.shared import completion
from autotune.cli.shared.help import Command
from autotune.cli.shared.interrupt import interruptible
from autotune.cli.shared.options import QUIET, as_json, storage, verbosity
from autotune.cli.shared.stdout import reserved
from autotune.cli.views.progress import progress


@click.command("refine", cls=Command)
@click.argument("study", shell_complete=completion.searches)
@click.option(
    "--tau",
    type=float,
    default=0.1,
    show_default=True,
    help="Part of the run over which norms are smoothed.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=2),
    help="Fresh seeds.  [default: those the search judges on]",
)
@click.option("--runs", type=float, help="Limit in full runs.  [default: what it needs]")
@click.option("--minutes", type=float, help="Limit in minutes; it goes on with more seeds.")
@click.option("--workers", type=click.IntRange(min=1), help="Runs side by side.")
@click.option("--dry-run", is_flag=True, help="Print the schedule and train nothing.")
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
    progress: str,
    storage: str | None,
    as_json: bool,
    dry_run: bool,
    **given: Any,
) -> None:
    """Refine the schedule of a tuned setting, and train by it beside the original one.

    STUDY is SEARCH/OPTIMIZER, or SEARCH for its optimizer with the lowest loss. The search has to
    keep gradient norms: autotune search --record-norms. The runs are as long as the search's, on
    fresh seeds; to go on after an interrupt, repeat the command. autotune export --schedule refined
    writes the schedule as a table.

    Example: autotune refine resnet50
    Example: autotune refine mlp/adan --dry-run
    """
    with interruptible() as interrupt, reserved() as stdout:
        from autotune.cli.commands import run_refinement

        form = "off" if ctx.meta.get(QUIET) else progress
        if dry_run:
            ended = run_refinement.computed(study, given, storage)
        else:
            ended = run_refinement.run(study, given, storage, form, interrupt)
        if ended.text(as_json) is not None:
            click.echo(ended.text(as_json), file=stdout)
    ctx.exit(ended.exit_code)
