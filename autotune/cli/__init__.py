"""The command line.

Nothing else may stand here: the module ``autotune.cli.list`` would hide the builtin of that name.
"""

from autotune.cli.group import main

__all__ = ["main"]
