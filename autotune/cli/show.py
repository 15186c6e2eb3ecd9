"""``autotune show``: one search, or one trial of it."""

from __future__ import annotations

import click

from autotune.cli import complete
from autotune.cli.document import document
from autotune.cli.help import Command
from autotune.cli.options import as_json, storage, talk


@click.command("show", cls=Command)
@click.argument("study", required=False, shell_complete=complete.searches)
@click.argument("number", metavar="[TRIAL]", type=click.IntRange(min=0), required=False)
@click.option(
    "--rerun", is_flag=True, help="Train the trial again, and set both curves side by side."
)
@click.option("--trials", "every", is_flag=True, help="Show every trial, not only the best.")
@storage
@as_json
@talk
def command(
    study: str | None,
    number: int | None,
    rerun: bool,
    every: bool,
    storage: str | None,
    as_json: bool,
) -> None:
    """Show a search, or one of its trials.

    STUDY is a search or SEARCH/OPTIMIZER, the newest search when left out. Betas are close to
    one, as torch takes them.

    Example: autotune show resnet50
    Example: autotune show resnet50/adan 17
    Example: autotune show resnet50/adan 17 --rerun
    """
    from autotune.cli import details, shown

    if rerun:
        if number is None:
            raise click.UsageError("--rerun runs one trial; name its number")
        from autotune.cli import reran

        content = reran.content(storage, study, number)
        text = reran.text(content)
    elif number is None:
        content = details.search(storage, study)
        text = shown.search_text(content, every)
    else:
        content = details.trial(storage, study, number)
        text = shown.trial_text(content)
    click.echo(document(**content) if as_json else text)
