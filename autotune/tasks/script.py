"""The user's file: found by its path or its dotted name, and imported as Python runs a script.

Its folder is first on ``sys.path``, ``sys.argv`` holds its path alone, and what it changes of the
process is kept for its own code (``surroundings``). A file in a package is a module of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from autotune import registry
from autotune.data.seeds import seeded
from autotune.errors import AutotuneError, SpecError, ends_process
from autotune.tasks import user_modules
from autotune.tasks.content import hide, import_anew
from autotune.tasks.mistakes import refused
from autotune.tasks.surroundings import State, changes, put_back, taken

MARK = ".py:"  # what tells file.py:function from a registered name
_NEVER = {"this", "antigravity", "idlelib", "turtledemo", "__main__"}  # importing them does things
# Libraries that we need, some of them late.
_NEEDED = {
    "torch",
    "alembic",
    "click",
    "numba",
    "numpy",
    "optuna",
    "pydantic",
    "rich",
    "scipy",
    "sqlalchemy",
}
_LOADING: list[Path] = []  # files that are being imported


@dataclass(frozen=True)
class Loaded:
    """A file that was imported.

    Args:
        module: What it defines.
        changed: What it changed of its process, for ``surroundings.make_again``.
    """

    module: ModuleType
    changed: State


def is_own(model: str) -> bool:
    """Return whether ``--model`` names a function of the user's: in a file or a dotted module."""
    if registry.in_family("autotune.tasks", model):
        return False
    return MARK in model or _dotted(model)


def _dotted(model: str) -> bool:
    module, colon, function = model.rpartition(":")
    return bool(colon) and all(map(str.isidentifier, [*module.split("."), function]))


def located(model: str) -> Path:
    """Return the file of ``file.py:function`` or ``package.module:function``; raises SpecError."""
    name = model.rpartition(":")[0]
    if name.endswith(".py") or not _dotted(model):
        return Path(name).expanduser().absolute()
    parts = name.split(".")
    folders = [Path.cwd(), *(Path(folder).absolute() for folder in sys.path)]
    for folder in folders:
        place = folder.joinpath(*parts)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    raise SpecError(
        f"cannot find module {name} of model '{model}' in {folders[0]} or among what is installed; "
        "give the path of its file: path/to/file.py:function"
    )


def load(path: Path, source: bytes, modules: tuple[tuple[str, str], ...]) -> Loaded:
    """Import what was read of a file: where that or a module beside it is edited, it is anew.

    The process is left as it was; raises SpecError with the traceback of the user's code.

    Args:
        path: The file.
        source: Its text, whose hash is the identity: neither one read again nor compiled before.
        modules: The modules beside it that it imports, with the hashes of what they do.
    """
    return _imported(path, source, modules, tuple(_package(path)))


@lru_cache(maxsize=8)
def _imported(
    path: Path, source: bytes, modules: tuple[tuple[str, str], ...], package: Sequence[str]
) -> Loaded:
    own = user_modules.name_of(path, sha256(source).hexdigest())
    name = ".".join([*(package or [user_modules.HERE]), own])
    # The file of no package stays in none: a relative import is refused there.
    spec = spec_from_file_location(name if package else own, path)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise SpecError(f"cannot import {path}: not a Python file")
    _know(path.parent)
    _refuse_hidden(path.parent, modules)
    hide(path.parent, dict(modules))
    before = taken()
    folders = [path.parent, path.parents[len(package)]] if package else [path.parent]
    # Registered as import would, for dataclasses and pickle look a module up by name.
    module = sys.modules[name] = module_from_spec(spec)
    module.__name__ = name
    sys.path[:0] = map(str, folders)
    sys.argv[:] = [str(path)]
    _LOADING.append(path)
    try:
        with seeded("import"):
            import_anew(path.parent, dict(modules))
            if package:
                import_module(".".join(package))
            exec(spec.loader.source_to_code(source, str(path)), vars(module))
        return Loaded(module, changes(before))
    except BaseException as error:
        sys.modules.pop(name, None)
        if ends_process(error) or isinstance(error, AutotuneError):
            raise
        raise refused(f"cannot import {path}", error, ":") from error
    finally:
        _LOADING.remove(path)
        put_back(before)


def refuse_nested() -> None:
    """Refuse a search that a file begins while a search imports it to find its function."""
    if _LOADING:
        raise SpecError(
            f"{_LOADING[-1].name} begins a search when it is imported, and each search and each "
            'worker imports it; put what begins the search under: if __name__ == "__main__":'
        )


def _package(path: Path) -> list[str]:
    """Return the names of the packages that a file lies in, the outermost first."""
    names: list[str] = []
    for folder in path.parents:
        if not (folder / "__init__.py").is_file() or not folder.name.isidentifier():
            break
        names.insert(0, folder.name)
    return names if _is_free(names, path) else []


def _is_free(package: list[str], path: Path) -> bool:
    """Return whether no other package than the file's own was imported by its name."""
    if not package or package[0] not in sys.modules:
        return True
    root = path.parents[len(package) - 1]
    return str(root) in map(str, getattr(sys.modules[package[0]], "__path__", ()))


def _refuse_hidden(folder: Path, modules: tuple[tuple[str, str], ...]) -> None:
    """Refuse a module beside a file that it would import instead of a library that we need."""
    for module, _ in modules:
        name = module.removesuffix("/__init__.py").removesuffix(".py")
        if name in _NEEDED:
            raise SpecError(f"{folder / module} hides the library {name}: rename it")


def _know(folder: Path) -> None:
    """Import what we need of Python and of libraries that a file of ``folder`` would hide.

    We, and libraries, import some of it late, and would find the user's.
    """
    known = (sys.stdlib_module_names - _NEVER) | _NEEDED
    with suppress(OSError):
        hidden = {file.stem for file in folder.iterdir() if file.suffix == ".py"}
        for name in sorted(hidden & known):
            with suppress(Exception):  # one of another system
                import_module(name)
