"""``autotune compare``: optimizers side by side, from the store."""

from __future__ import annotations

import click

from autotune.cli import complete
from autotune.cli.document import document
from autotune.cli.help import Command
from autotune.cli.options import as_json, storage, talk
from autotune.cli.report import report
from autotune.cli.table import width


@click.command("compare", cls=Command)
@click.argument("searches", nargs=-1, required=True, shell_complete=complete.searches)
@storage
@as_json
@talk
def command(searches: tuple[str, ...], storage: str | None, as_json: bool) -> None:
    """Compare a search's optimizers, default and tuned.

    All ran on the same fresh seeds. Betas are close to one, as torch takes them.

    Example: autotune compare resnet50
    """
    from autotune.cli.stored import opened
    from autotune.compare import load

    with opened(storage) as store:
        comparisons = [load(store, name) for name in searches]
    if as_json:
        click.echo(document(comparisons=comparisons))
    else:
        click.echo("\n\n".join(report(comparison, width()) for comparison in comparisons))
