"""A function in the user's file: found, and called where the file has put its process."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from autotune import registry
from autotune.data.seeds import seeded
from autotune.errors import SpecError, UnknownName
from autotune.studies.names import COMMAND
from autotune.tasks import command_files
from autotune.tasks.content import MODULE, beside, differing, meaning_of
from autotune.tasks.script import Loaded, is_own, load, located
from autotune.tasks.source import meaning
from autotune.tasks.surroundings import Surroundings, make_again, outside, put_back, taken

PREFIX = "python:"  # begins the text of a function of this process, which has no file


@dataclass(frozen=True)
class Function:
    """A function by the text that names it: ``file.py:function``."""

    text: str

    @cached_property
    def path(self) -> Path:
        """Return the file, looked for from the working directory of the command."""
        with outside():
            return located(self.text)

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
    def modules(self) -> Mapping[str, str]:
        """Return hashes of the modules beside the file that it imports, by their paths there."""
        return beside(self.path, self._source)

    @property
    def facts(self) -> dict[str, str]:
        """Return the modules as facts of a task."""
        return {MODULE + name: content for name, content in self.modules.items()}

    @cached_property
    def _source(self) -> bytes:
        return _read(self.path)

    @cached_property
    def _loaded(self) -> Loaded:
        return load(self.path, self._source, tuple(self.modules.items()))

    @cached_property
    def _found(self) -> Callable[..., Any]:
        module = self._loaded.module
        known = {name for name, value in vars(module).items() if _own(value, module)}
        found: Callable[..., Any] | None = vars(module).get(self.name)
        if not callable(found):
            raise UnknownName(registry.unknown(f"function of {self.path.name}", self.name, known))
        return found

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        try:
            return _own_parameters(self._found)
        except ValueError:
            raise SpecError(
                f"{self.text} does not tell which arguments it takes; "
                "call it in a function that does"
            ) from None

    @property
    def yields(self) -> bool:
        """Tell whether it is a loop of the user's own: one that yields what it measures."""
        found: Any = self._found
        while isinstance(found, partial) or hasattr(found, "__wrapped__"):
            found = found.func if isinstance(found, partial) else found.__wrapped__
        called = vars(type(found)).get("__call__")  # of an object that can be called
        if inspect.isasyncgenfunction(found):
            raise SpecError(f"{self.text} is an async generator; write it without async and await")
        return inspect.isgeneratorfunction(found) or inspect.isgeneratorfunction(called)

    def accepts(self, name: str) -> bool:
        """Tell whether the function takes the keyword argument ``name``."""
        parameters = self._parameters
        if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            return True
        return name in parameters and parameters[name].kind is not inspect.Parameter.POSITIONAL_ONLY

    def requires(self, name: str) -> bool:
        """Tell whether the function has an argument ``name`` without a default."""
        each = self._parameters.get(name)
        if each is None or each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL):
            return False
        return each.default is each.empty

    def check(self, offered: Sequence[str]) -> None:
        """Refuse a function that asks for more than what is ``offered``."""
        for name, each in self._parameters.items():
            if name in offered and each.kind is each.POSITIONAL_ONLY:
                raise SpecError(f"{self.text} must take '{name}' by name; take out its '/'")
            if self.requires(name) and not (name in offered and self.accepts(name)):
                hint = registry.near(name, offered)
                raise SpecError(
                    f"{self.text} needs '{name}', which is not given{hint or ';'} it may take the "
                    f"keyword arguments {_listed(offered)}, others need a default"
                )

    def __call__(self, **offered: Any) -> Any:
        """Call the function with what it accepts of ``offered``; ``seed`` also seeds all chance."""
        arguments = self._accepted(offered)
        with Surroundings().entered(), seeded("initialisation", offered["seed"]):
            before = taken()
            self._move()
            try:
                return self._found(**arguments)
            finally:
                put_back(before, only_ours=True)

    def begun(self, **offered: Any) -> Any:
        """Call the function within a ``lane``, where all that it does to its process is kept."""
        self._move()
        return self._found(**self._accepted(offered))

    def _accepted(self, offered: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in offered.items() if self.accepts(name)}

    def _move(self) -> None:
        """Bring the process to where the file's import has left it."""
        make_again(self._loaded.changed)


def _own_parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return what a call may give; a decorator's function may take more than what it decorates.

    One that passes on whatever it is given takes what it decorates takes.
    """
    outer = inspect.unwrap(function, stop=lambda each: not _passes_on(each))
    return inspect.signature(outer, follow_wrapped=not inspect.isfunction(outer)).parameters


def _passes_on(function: Callable[..., Any]) -> bool:
    if not inspect.isfunction(function):
        return True  # as what functools.cache returns, which tells nothing itself
    own = inspect.signature(function, follow_wrapped=False).parameters
    return any(each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL) for each in own.values())


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _own(value: Any, module: ModuleType) -> bool:
    return (
        inspect.isfunction(value) or inspect.isclass(value)
    ) and value.__module__ == module.__name__


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot read model file {path}: {error.strerror}") from error


def edited(text: str, expected: Mapping[str, str]) -> list[str]:
    """Return which files of ``file.py:function``, or of a command, differ from ``expected``."""
    if not expected:
        return []
    if text == COMMAND:
        return command_files.edited(expected)
    path = Function(text).path
    source = _read(path)
    return differing(expected, {path.name: meaning_of(source), **beside(path, source)})


def expected(task: Mapping[str, Any]) -> dict[str, str]:
    """Return from a task's facts what the files of its function do, or of its command."""
    text = str(task.get("model"))
    modules = {k.removeprefix(MODULE): v for k, v in task.items() if k.startswith(MODULE)}
    if text == COMMAND:
        return modules
    own = task.get("model_hash") or (task.get("data_hash") if task.get("data") == text else None)
    if text.startswith(PREFIX) or not is_own(text) or own is None:
        return {}
    # A search of before modules were facts keeps those of this sitting.
    return {Function(text).path.name: str(own), **(modules or Function(text).modules)}
