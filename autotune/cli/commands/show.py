"""``autotune show``: a search, or one of its trials."""

from __future__ import annotations

import click

from autotune.cli.shared import completion
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import as_json, storage, verbosity
from autotune.cli.shared.stdout import reserved
from autotune.cli.views.json import document


@click.command("show", cls=Command)
@click.argument("study", required=False, shell_complete=completion.searches)
@click.argument("number", metavar="[TRIAL]", type=click.IntRange(min=0), required=False)
@click.option("--rerun", is_flag=True, help="Train the trial again, and compare both curves.")
@click.option("--log", is_flag=True, help="Print what the trial's command printed.")
@click.option("--trials", "every", is_flag=True, help="Show all trials, not only the best.")
@storage
@as_json
@verbosity
def command(
    study: str | None,
    number: int | None,
    rerun: bool,
    log: bool,
    every: bool,
    storage: str | None,
    as_json: bool,
) -> None:
    """Show a search, or one of its trials.

    STUDY is SEARCH/OPTIMIZER, or SEARCH for all its optimizers; the default is the newest search.
    Betas are close to one, as in torch.

    Example: autotune show resnet50
    Example: autotune show resnet50/adan 17
    Example: autotune show resnet50/adan 17 --rerun
    Example: autotune show train/adan 17 --log
    """
    from autotune.cli.views import show
    from autotune.search import details

    with reserved() as stdout:
        if log:
            _refuse_beside_log(number, rerun=rerun, as_json=as_json)
            for piece in details.log(storage, study, number or 0):
                click.echo(piece, nl=False, file=stdout)
            return
        if rerun:
            if number is None:
                raise click.UsageError("--rerun needs the number of a trial")
            from autotune.cli.views import rerun as rerun_view

            content = rerun_view.content(storage, study, number)
            text = rerun_view.text(content)
        elif number is None:
            content = details.search(storage, study)
            text = show.search_text(content, every)
        else:
            content = details.trial(storage, study, number)
            text = show.trial_text(content)
        click.echo(document(**content) if as_json else text, file=stdout)


def _refuse_beside_log(number: int | None, *, rerun: bool, as_json: bool) -> None:
    if number is None:
        raise click.UsageError("--log needs the number of a trial")
    if rerun or as_json:
        raise click.UsageError(f"--log cannot go with {'--rerun' if rerun else '--json'}")
