"""The command ``autotune``, whose commands are imported only when they are used."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, ClassVar

import click

from autotune import __version__
from autotune.cli.shared import failures, streams, threads
from autotune.training.process import loading

COMMANDS = (
    "search", "validate", "refine", "worker", "tell", "list", "show", "compare", "export", "import",
    "report", "delete", "doctor", "dashboard", "serve", "token", "bench", "completion",
)  # fmt: skip


class Modules(click.Group):
    """A group of commands; each is the module ``prefix`` + its name in ``cli/commands``."""

    names: ClassVar[tuple[str, ...]] = ()
    prefix: ClassVar[str] = ""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which people use them."""
        return list(self.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return the command."""
        if cmd_name not in self.names:
            return None
        with loading():
            module = import_module(f"autotune.cli.commands.{self.prefix}{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; the error for an unknown name suggests the nearest one."""
        if args[0] not in self.names and not ctx.resilient_parsing:
            from autotune.registry import unknown

            raise click.UsageError(unknown("command", args[0], self.names), ctx)
        return super().resolve_command(ctx, args)


class Commands(Modules):
    """The command ``autotune`` itself, which prints the errors of its commands."""

    names = COMMANDS

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an exception becomes one sentence."""
        with failures.as_command_error(ctx):
            return super().invoke(ctx)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line and exit with its code."""
        streams.open_all()
        extra |= {"prog_name": "autotune", "standalone_mode": False}
        code = failures.exit_code(lambda: super(Commands, self).main(*args, **extra))
        threads.watch()
        sys.exit(code)


def _color() -> bool | None:
    """Return whether to use colors; None: only if the stream is a terminal."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return True if os.environ.get("FORCE_COLOR") else None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Find the settings of Adan, Win and AdamW that train your model best.

    Example: autotune search --model resnet50 --optimizer adan --optimizer adamw
    """
    ctx.color = _color()
