"""``autotune worker``: run trials of a search that another process began."""

from __future__ import annotations

from typing import Any

import click

from autotune.cli.shared.completion import searches
from autotune.cli.shared.help import Command
from autotune.cli.shared.interrupt import interruptible
from autotune.cli.shared.options import QUIET, storage, verbosity
from autotune.cli.shared.search_option import SearchOption
from autotune.cli.shared.stdout import reserved
from autotune.cli.views.progress import progress
from autotune.errors import SpecError
from autotune.studies.names import PRECISIONS


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
    "--per-gpu",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Trials at the same time on each GPU.",
)
@click.option(
    "--device",
    default="auto",
    metavar="NAME",
    help="Where trials compute, of the search's kind: cuda:<index> takes one GPU of several.  "
    "[default: the search's kind]",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    metavar="NAME",
    help="What networks compute in, as the search does: another one is refused without --mixed.  "
    "[default: the search's]",
)
@click.option(
    "--strict", is_flag=True, help="Stop if package versions differ from those of the search."
)
@click.option(
    "--mixed",
    is_flag=True,
    help="Join with another kind of device or precision than the search's; every table of results "
    "then says so.",
)
@click.option(
    "--server",
    metavar="URL",
    help="A service that has the search, as http://host:8400, instead of its database.",
)
@click.option(
    "--token",
    envvar="AUTOTUNE_TOKEN",
    show_envvar=True,
    metavar="TEXT",
    help="What the service knows this worker by.",
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
    progress: str,
    storage: str | None,
    server: str | None,
    token: str | None,
    **terms: Any,
) -> None:
    """Run trials of a search on this machine, alone or beside other workers.

    Workers may join and leave at any time. Ctrl-C and SIGTERM finish the current steps, save the
    trials and give them back to the search. Each trial takes a place on a GPU that is free.

    With --server it needs no database: the trials are asked for over HTTP, and saved in
    autotune-states of this folder. The model's files have to be here and be the same.

    Example: autotune worker --search resnet50 --storage postgresql://me@host/studies
    """
    # A user's function may print, but stdout is for results, and a worker has none.
    with interruptible() as interrupt, reserved():
        from autotune.cli.commands import run_worker

        form = "off" if ctx.meta.get(QUIET) else progress
        if server is None:
            ctx.exit(run_worker.run(search, terms, storage, form, interrupt))
        if storage is not None:
            raise SpecError("give --server or --storage: a worker asks a service or a database")
        if terms["mixed"] or terms["strict"]:
            raise SpecError("--mixed and --strict are for a worker at the database; leave them out")
        ctx.exit(run_worker.served(search, terms, (server, token), form, interrupt))
