"""A command line that ends with another one: ``autotune search [OPTIONS] -- COMMAND...``."""

from __future__ import annotations

import click

from autotune.cli.shared.help import Command

BEHIND = "--"


class Trailing(Command):
    """A command that takes the words behind ``--`` as its parameter ``command``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words behind ``--`` from being read as options."""
        place = args.index(BEHIND) if BEHIND in args else len(args)
        if place == len(args) - 1 and not ctx.resilient_parsing:
            raise click.UsageError("a command must follow --, as in: -- python train.py {args}")
        rest = super().parse_args(ctx, args[:place])
        ctx.params["command"] = tuple(args[place + 1 :])
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Say in the usage what follows the options."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


def pairs(_: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Return an option ``NAME=VALUE`` that may be repeated as a mapping."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            raise click.BadParameter(f"must be {parameter.metavar}, got '{text}'", param=parameter)
        found[name] = value
    return found
