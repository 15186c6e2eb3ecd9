"""``autotune token``: the group of commands on tokens of the service."""

from __future__ import annotations

import click

from autotune.cli.shared.group import Modules


class Tokens(Modules):
    """What can be done with tokens."""

    names = ("create", "list", "revoke")
    prefix = "token_"


@click.group("token", cls=Tokens)
def command() -> None:
    """Make, list and revoke the tokens by which autotune serve knows its callers.

    From the first one on, a service of that database answers nobody without a token.

    Example: autotune token create gpus --scope work
    """
