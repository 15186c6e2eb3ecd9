"""``autotune worker``: run trials of a search that another process began."""

from __future__ import annotations

import click

from autotune.cli.shared.completion import searches
from autotune.cli.shared.help import Command
from autotune.cli.shared.interrupt import interruptible
from autotune.cli.shared.options import QUIET, storage, verbosity
from autotune.cli.shared.search_option import SearchOption
from autotune.cli.shared.stdout import reserved
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
@click.option(
    "--name",
    metavar="NAME",
    help="Name of this worker; under the same name it takes up its trials again.  "
    "[default: a new name]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Trials to run at the same time.",
)
@click.option(
    "--device",
    default="auto",
    metavar="NAME",
    help="Where trials compute, of the search's kind: cuda:<index> takes one GPU of several.  "
    "[default: the search's kind]",
)
@click.option(
    "--strict", is_flag=True, help="Stop if package versions differ from those of the search."
)
@progress
@storage
@verbosity
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    search: str,
    name: str | None,
    workers: int,
    device: str,
    strict: bool,
    progress: str,
    storage: str | None,
) -> None:
    """Run trials of a search on this machine, alone or beside other workers.

    Workers may join and leave at any time. Ctrl-C and SIGTERM finish the current steps, save the
    trials and give them back to the search. With several GPUs a worker takes a free one.

    Example: autotune worker --search resnet50 --storage postgresql://me@host/studies
    """
    # A user's function may print, but stdout is for results, and a worker has none.
    with interruptible() as interrupt, reserved():
        from autotune.cli.commands import run_worker

        form = "off" if ctx.meta.get(QUIET) else progress
        terms = {"name": name, "workers": workers, "strict": strict, "device": device}
        ctx.exit(run_worker.run(search, terms, storage, form, interrupt))
