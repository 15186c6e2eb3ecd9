"""``autotune show``: one search, or one trial of it."""

from __future__ import annotations

import click

from autotune.cli.shared import completion
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import as_json, storage, talk
from autotune.cli.views.json import document


@click.command("show", cls=Command)
@click.argument("study", required=False, shell_complete=completion.searches)
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
    from autotune.cli.views import show
    from autotune.search import details

    if rerun:
        if number is None:
            raise click.UsageError("--rerun runs one trial; name its number")
        from autotune.cli.views import rerun as both

        content = both.content(storage, study, number)
        text = both.text(content)
    elif number is None:
        content = details.search(storage, study)
        text = show.search_text(content, every)
    else:
        content = details.trial(storage, study, number)
        text = show.trial_text(content)
    click.echo(document(**content) if as_json else text)
