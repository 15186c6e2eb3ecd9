"""``autotune completion``: a script with which a shell completes names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from autotune.cli.shared.help import Command
from autotune.cli.shared.options import verbosity


@click.command("completion", cls=Command)
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@verbosity
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands, options and names.

    SHELL is bash, zsh or fish.

    Example: eval "$(autotune completion bash)"
    """
    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"click completes no {shell}", ctx)
    click.echo(completion(ctx.find_root().command, {}, "autotune", "_AUTOTUNE_COMPLETE").source())
