"""The command line: ``commands/`` has a module for each command, ``views/`` formats output."""

from autotune.cli.shared.group import main

__all__ = ["main"]
