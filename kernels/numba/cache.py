"""The numba backend's compiled loops on disk, so that the next process need not compile them.

The key of a loop covers all that it is compiled from: the bytecode of its rule, the sources of
these kernels, the processor, the compiler's versions and settings. So no loop is ever stale. If no
folder can be written to, loops stay in memory. To load a loop is to run code from its file: only
files and folders that belong to the user, and that nobody else may open, are used.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import CodeType
from typing import Any, TypeVar

import numba.core
import numba.misc.appdirs
import numpy as np

from autotune.kernels.lang import Function

_KEPT = 256  # files; a loop has about 50 kB
_OTHERS = 0o077  # bits of permissions
# Numba versions in which a loop needs only the runtime started, not all that `refresh` starts in
# most of a second.
_STARTED = ("0.68.",)
_SIZE = hashlib.sha256().digest_size
_Fn = TypeVar("_Fn", bound=Callable[..., Any])

# Any, as Numba's types lack attributes that are used here.
_core: Any = numba.core
_appdirs: Any = numba.misc.appdirs

_log = logging.getLogger(__name__)


def known(*what: Any) -> str:
    """Return the key of a loop made from these values, the same in every process."""
    return hashlib.sha256(repr([*map(_facts, what), _surroundings()]).encode()).hexdigest()


def _facts(value: Any) -> Any:
    """Return the parts of a value, written the same way in every process."""
    if isinstance(value, Function):
        named = value.fn.__globals__
        parts = [(name, named.get(name)) for name in value.fn.__code__.co_names]
        called = [(name, _facts(part)) for name, part in parts if isinstance(part, Function)]
        return _facts(value.fn.__code__), called
    if isinstance(value, CodeType):
        names = value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars
        form = value.co_argcount, value.co_kwonlyargcount, value.co_flags, value.co_exceptiontable
        return value.co_code, form, names, [_facts(constant) for constant in value.co_consts]
    if isinstance(value, tuple | list):
        return [_facts(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return [(name, _facts(getattr(value, name))) for name in value.__dataclass_fields__]
    return repr(value)


def _sources() -> str:
    """Return a hash of the kernels' sources; without source files, a random one."""
    kernels = Path(__file__).parents[1]
    found = [path.read_bytes() for path in sorted(kernels.rglob("*.py"))]
    return hashlib.sha256(b"".join(found) or os.urandom(_SIZE)).hexdigest()


_IMPORTED = _sources()  # at import, as an upgrade may replace the files later


@cache
def _surroundings() -> list[str]:
    """Return what every loop depends on: sources, versions, and settings of the compiler."""
    named = sorted(name for name in os.environ if name.startswith("NUMBA_"))
    settings = [f"{name}={os.environ[name]}" for name in named if "CACHE" not in name]
    versions = [sys.version, np.__version__, numba.__version__, version("llvmlite")]
    return [_IMPORTED, *versions, *settings]


def named(name: str) -> Callable[[_Fn], _Fn]:
    """Return a decorator that gives a function compiled into a loop a name of its own.

    The compiler tells equal names apart by numbers that begin anew in each process. So a loop from
    another process could otherwise call the wrong function.
    """

    def rename(fn: _Fn) -> _Fn:
        fn.__qualname__ = f"{fn.__name__}_{name}"
        return fn

    return rename


def kept(name: str) -> Callable[[Any], Any]:
    """Return a decorator for a loop that is kept on disk under a name."""

    def keep(dispatcher: Any) -> Any:
        if not _core.config.DISABLE_JIT:
            dispatcher._cache = Kept(name)
        return dispatcher

    return keep


class Kept:
    """The file of one loop; Numba reads it before it compiles, and writes it afterwards."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def cache_path(self) -> str:
        """The folder."""
        return str(_folder())

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return the loop, or None if it is missing or damaged."""
        path = self._path(signature, context.codegen())
        content = _read(path)
        if content is None:
            return None
        if numba.__version__.startswith(_STARTED):
            _core.runtime.rtsys.initialize(context)
        else:
            context.refresh()
        # Whatever the error, the loop can be compiled again.
        try:
            found = _core.compiler.CompileResult._rebuild(context, *pickle.loads(content))
        except Exception as error:
            _log.info("%s cannot be read, so the loop is compiled again: %s", path, error)
            return None
        with suppress(OSError):
            os.utime(path)
        return found

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Write the loop, if there is a folder for it."""
        if not compiled.library.has_dynamic_globals:  # those are addresses of this process
            content = _core.serialize.dumps(compiled._reduce())
            _write(self._path(signature, compiled.codegen), content)

    def flush(self) -> None:
        """Do nothing: no loop is ever stale."""

    def _path(self, signature: Any, codegen: Any) -> Path:
        facts = repr([self.name, str(signature), codegen.magic_tuple()])
        return _folder() / f"{hashlib.sha256(facts.encode()).hexdigest()}.loop"


def _folder() -> Path:
    """Return the folder of loops, inside Numba's own cache."""
    own = _appdirs.AppDirs(appname="numba", appauthor=False).user_cache_dir
    return Path(_core.config.CACHE_DIR or own) / "autotune"


def _private(facts: os.stat_result) -> bool:
    """Whether only the user can write a file; False where there are no POSIX permissions."""
    return os.name == "posix" and facts.st_uid == os.geteuid() and not facts.st_mode & _OTHERS


@cache
def _refuse(folder: Path) -> None:
    _log.warning("%s is not used for compiled loops: it must be yours, with mode 0700", folder)


def _read(path: Path) -> bytes | None:
    """Return the content of the user's own file, or None if it is missing or damaged."""
    try:
        if not _private(os.lstat(path.parent)):
            _refuse(path.parent)
            return None
        with path.open("rb") as file:
            mine, content = _private(os.fstat(file.fileno())), file.read()
    except OSError:
        return None
    whole = hashlib.sha256(content[_SIZE:]).digest() == content[:_SIZE]
    return content[_SIZE:] if mine and whole else None


def _write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all, even while another process writes it."""
    folder = path.parent
    try:
        if path.parts[0] == "~":
            raise FileNotFoundError("the user has no home folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if not _private(os.lstat(folder)):
            return
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            try:
                file.write(hashlib.sha256(content).digest() + content)
                file.close()
                os.replace(file.name, path)
            except OSError:
                os.unlink(file.name)
                raise
        _drop_oldest(folder)
    except OSError as error:
        _log.info("compiled loops are not kept on disk: %s", error)


def _drop_oldest(folder: Path) -> None:
    found = sorted(_aged(folder), reverse=True)
    for _, path in found[_KEPT:]:
        path.unlink(missing_ok=True)


def _aged(folder: Path) -> Iterator[tuple[float, Path]]:
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process may remove it first
            yield path.stat().st_mtime, path
