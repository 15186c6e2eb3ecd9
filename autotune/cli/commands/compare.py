"""``autotune compare``: the optimizers of stored searches, compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from autotune.cli.shared import completion
from autotune.cli.shared.help import Command
from autotune.cli.shared.options import as_json, storage, verbosity
from autotune.cli.views.comparison import report
from autotune.cli.views.json import document
from autotune.cli.views.table import width

if TYPE_CHECKING:
    from autotune.results.comparison import Comparison


@click.command("compare", cls=Command)
@click.argument("searches", nargs=-1, required=True, shell_complete=completion.searches)
@storage
@as_json
@verbosity
def command(searches: tuple[str, ...], storage: str | None, as_json: bool) -> None:
    """Compare the optimizers of a search, each with its default and its tuned setting.

    All of them were run on the same fresh seeds. Betas are close to one, as in torch.

    Example: autotune compare resnet50
    """
    from autotune.search.details import comparison
    from autotune.search.stored import opened, resumable

    with opened(storage) as store:
        found = [comparison(store, name) for name in dict.fromkeys(searches)]
    commands = resumable([each.search for each in found], storage)
    if as_json:
        click.echo(document(comparisons=found, resume=commands))
    else:
        click.echo("\n\n".join(_text(each, commands) for each in found))


def _text(comparison: Comparison, commands: Mapping[str, str]) -> str:
    name = comparison.search.name
    text = report(comparison, width())
    return f"{text}\ninterrupted; go on with: {commands[name]}" if name in commands else text
