"""``autotune worker``: run trials of a search that was begun elsewhere."""

from __future__ import annotations

import click

from autotune.cli.shared.completion import searches
from autotune.cli.shared.help import Command
from autotune.cli.shared.interrupt import interruptible
from autotune.cli.shared.options import QUIET, storage, talk
from autotune.cli.shared.search_option import SearchOption
from autotune.cli.views.progress import progress


@click.command("worker", cls=Command)
@click.option(
    "--search",
    cls=SearchOption,
    required=True,
    metavar="NAME",
    shell_complete=searches,
    help="The search to join.",
)
@click.option("--name", metavar="NAME", help="A name to come back under.  [default: made up]")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Trials side by side.",
)
@click.option("--strict", is_flag=True, help="Refuse other versions than the search's.")
@progress
@storage
@talk
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    search: str,
    name: str | None,
    workers: int,
    strict: bool,
    progress: str,
    storage: str | None,
) -> None:
    """Join a search on this machine, beside others or alone.

    Any number of workers may run one search; none of them has to stay. SIGTERM and Ctrl-C finish
    the running steps, save and hand back. With several GPUs it takes one that no worker uses.

    Example: autotune worker --search resnet50 --storage postgresql://me@host/studies
    """
    with interruptible() as interrupt:
        from autotune.cli.commands import run_worker

        form = "off" if ctx.meta.get(QUIET) else progress
        terms = {"name": name, "workers": workers, "strict": strict}
        ctx.exit(run_worker.run(search, terms, storage, form, interrupt))
