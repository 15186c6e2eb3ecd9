"""A function in the user's file: found, loaded as Python would load a script, and called."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from autotune import registry
from autotune.data.seeds import seeded
from autotune.errors import SpecError, UnknownName, ends_process
from autotune.tasks import user_modules
from autotune.tasks.source import meaning

MARK = ".py:"  # what tells file.py:function from a registered name


@dataclass(frozen=True)
class Function:
    """A function by the text that names it: ``file.py:function``."""

    text: str

    @property
    def path(self) -> Path:
        """Return the file."""
        return Path(self.text.rpartition(":")[0]).expanduser().absolute()

    @property
    def name(self) -> str:
        """Return the function's name."""
        return self.text.rpartition(":")[2]

    @property
    def short(self) -> str:
        """Return file and function as one word, fit for the name of a search."""
        return f"{self.path.stem}-{self.name}"

    @cached_property
    def sha256(self) -> str:
        """Return the hash of what the file does."""
        return meaning(self._source)

    @cached_property
    def _source(self) -> bytes:
        return _read(self.path)

    @cached_property
    def _found(self) -> Callable[..., Any]:
        module = _load(self.path, sha256(self._source).hexdigest())
        known = {name for name, value in vars(module).items() if _own(value, module)}
        found: Callable[..., Any] | None = vars(module).get(self.name)
        if not callable(found):
            raise UnknownName(registry.unknown(f"function of {self.path.name}", self.name, known))
        return found

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        function = self._found
        try:
            return inspect.signature(function).parameters
        except ValueError:
            raise SpecError(
                f"{self.text} does not tell which arguments it takes; "
                "call it in a function that does"
            ) from None

    def accepts(self, name: str) -> bool:
        """Tell whether the function takes the keyword argument ``name``."""
        parameters = self._parameters
        if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            return True
        return name in parameters and parameters[name].kind is not inspect.Parameter.POSITIONAL_ONLY

    def check(self, offered: Sequence[str]) -> None:
        """Refuse a function that asks for more than what is ``offered``."""
        for name, each in self._parameters.items():
            optional = each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
            optional = optional or each.default is not each.empty
            if not optional and not (name in offered and self.accepts(name)):
                raise SpecError(
                    f"{self.text} needs '{name}', which is not given; it may take the keyword "
                    f"arguments {' and '.join(offered)}, others need a default"
                )

    def __call__(self, **offered: Any) -> Any:
        """Call the function with what it accepts of ``offered``; ``seed`` also seeds all chance."""
        arguments = {name: value for name, value in offered.items() if self.accepts(name)}
        with self._surroundings(), seeded("initialisation", offered["seed"]):
            return self._found(**arguments)

    def _surroundings(self) -> AbstractContextManager[None]:
        return _importable(self.path.parent)


def _own(value: Any, module: ModuleType) -> bool:
    return (
        inspect.isfunction(value) or inspect.isclass(value)
    ) and value.__module__ == module.__name__


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot read model file {path}: {error.strerror}") from error


@lru_cache(maxsize=8)
def _load(path: Path, content: str) -> ModuleType:
    """Import a file; the hash makes an edited file a new module."""
    name = user_modules.name_of(path, content)
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"cannot import {path}: not a Python file")
    # Registered as import would, for dataclasses and pickle look a module up by name.
    module = sys.modules[name] = module_from_spec(spec)
    _LOADING.append(path)
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if ends_process(error):
            raise
        raise SpecError(f"cannot import {path}: {described(error)}") from error
    finally:
        _LOADING.remove(path)
    return module


_LOADING: list[Path] = []  # files that are being imported


def refuse_nested() -> None:
    """Refuse a search that a file begins while a search imports it to find its function."""
    if _LOADING:
        raise SpecError(
            f"{_LOADING[-1].name} begins a search when it is imported, and each search and each "
            'worker imports it; put what begins the search under: if __name__ == "__main__":'
        )


def described(error: BaseException) -> str:
    """Return an exception's type and message on one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let imports find the modules beside the file, as they do when Python runs it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
