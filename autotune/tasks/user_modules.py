"""Let processes that a user's code spawns find the classes of the user's file.

Such a process, for example of a data loader, unpickles an object by the name of its class's module.
A user's file is loaded under a name that no import system knows: running this module adds it. A
file of no package is named as one inside this module, so that whoever imports the file imports this
first, as joblib's processes do. For one in a package, a spawned process runs what its parent's main
module says that it is. The file is looked for in ``sys.path``, which a spawned process inherits.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = "autotune.tasks.user_modules"  # not __name__: a spawned process runs it as its main module
PREFIX = "autotune_user_"
DIGITS = 8  # of the hash of the file, in the name
_helped: list[str] = []  # folders that ``help_spawned`` added to the path
_SCRIPT = {"__file__", "__spec__"}  # from them a spawned process knows what to run
__path__: list[str] = []  # a module with a path may hold others


def name_of(file: Path, content: str) -> str:
    """Return the name of a file's module; ``content`` is the hash of the file."""
    return f"{PREFIX}{file.stem}_{content[:DIGITS]}"


class _Finder(MetaPathFinder):
    """Finds the file that a module of a user was loaded from."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a user's file with the hash that its module's name holds."""
        own = fullname.rpartition(".")[2]  # what stands before it is the file's package
        if not own.startswith(PREFIX):
            return None
        stem, _, digits = own.removeprefix(PREFIX).rpartition("_")
        for folder in path or sys.path:
            file = Path(folder) / f"{stem}.py"
            if file.is_file() and sha256(file.read_bytes()).hexdigest()[:DIGITS] == digits:
                return importlib.util.spec_from_file_location(fullname, file)
        return None


def help_spawned(model: object) -> None:
    """Let what is spawned from now on find the file of ``file.py:function``, and those beside it.

    For processes of our own: their main module is not the user's.
    """
    sys.modules["__main__"].__spec__ = importlib.util.find_spec(HERE)
    file, colon, _ = str(model).rpartition(":")
    folder = str(Path(file).expanduser().absolute().parent)
    if colon and file.endswith(".py") and folder not in sys.path:
        sys.path.append(folder)
        _helped.append(folder)


@contextmanager
def without_the_users() -> Iterator[None]:
    """Keep a worker that is spawned from the user's files until it has imported what it needs.

    It would run the caller's script once more, though a job names all that it needs. A file such as
    autotune.py would come before an editable install, which is found after all of ``sys.path``.
    """
    main, path = vars(sys.modules["__main__"]), list(sys.path)
    known: dict[str, Any] = {name: main.pop(name) for name in main.keys() & _SCRIPT}
    main["__spec__"] = None
    sys.path[:] = [folder for folder in path if folder not in _helped]
    try:
        yield
    finally:
        main.update(known)
        sys.path[:] = path


if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.append(_Finder())
