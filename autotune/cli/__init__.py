"""The command line: ``commands/`` has one module a command, ``views/`` what they print."""

from autotune.cli.shared.group import main

__all__ = ["main"]
