"""Classes of another library that can be asked for by name: ``optuna:CmaEsSampler(sigma0=0.3)``."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from autotune.errors import MissingExtra, SpecError, UnknownName
from autotune.registry import unknown


@dataclass(frozen=True, kw_only=True)
class Family:
    """What a library has of one kind.

    Args:
        kind: What they are to a person.
        prefix: What stands before the colon.
        module: Where the classes are.
        base: Name of the class that all of them extend.
        make: Returns what serves our purpose with one of them.
        elsewhere: Classes in other modules: the module, and what to install for it.
        ours: Arguments that the search sets.
        form: What stands after the colon, for a person.
    """

    kind: str
    prefix: str
    module: str
    base: str
    make: Callable[[Wanted], Any]
    elsewhere: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    ours: frozenset[str] = frozenset()
    form: str = "CLASS"

    def names(self) -> list[str]:
        """Return the names to ask for, sorted."""
        found = vars(import_module(self.module))
        classes = [found[name] for name in found["__all__"]]
        base = found[self.base]
        own = {c.__name__ for c in classes if inspect.isclass(c) and issubclass(c, base)}
        own = {name for name in own if not name.startswith("Base")}
        return sorted(f"{self.prefix}:{name}" for name in own | self.elsewhere.keys())

    def __call__(self, text: str) -> Any:
        """Return what ``Class`` or ``Class(argument=value)`` asks for; raises SpecError."""
        name = f"{self.prefix}:{text}"
        given, arguments = _call(name, text)
        if f"{self.prefix}:{given}" not in self.names():
            raise UnknownName(unknown(self.kind, f"{self.prefix}:{given}", self.names()))
        wanted = Wanted(family=self, name=name, cls=self._class(given), given=arguments)
        wanted.check()
        return self.make(wanted)

    def _class(self, name: str) -> Any:
        if name not in self.elsewhere:
            return getattr(import_module(self.module), name)
        module, install = self.elsewhere[name]
        with explained(f"{self.prefix}:{name}", install):
            return getattr(import_module(module), name)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One class with the arguments that a person gave.

    Args:
        family: It is of.
        name: As it was asked for.
        cls: The class.
        given: Its arguments.
    """

    family: Family
    name: str
    cls: Any
    given: Mapping[str, Any]

    def check(self) -> None:
        """Refuse arguments that the class does not take, and lacking ones."""
        takes = inspect.signature(self.cls).parameters
        called = f"{self.family.prefix}:{self.cls.__name__}"
        for key in self.given:
            if key in self.family.ours:
                raise SpecError(f"{self.name}: {key} is the search's own to set; leave it out")
            if key not in takes:
                raise UnknownName(unknown(f"argument of {called}", key, takes))
        needed = [k for k, p in takes.items() if p.default is p.empty and k not in self.given]
        if needed:
            example = ", ".join(f"{key}=..." for key in needed)
            raise SpecError(
                f"{self.name} needs {' and '.join(needed)}; give plain values as "
                f"{called}({example})"
            )
        self.make(**dict.fromkeys(self.family.ours, 0))

    def make(self, **own: Any) -> Any:
        """Return an instance, with those of our ``own`` arguments that it takes."""
        takes = inspect.signature(self.cls).parameters
        own = {key: value for key, value in own.items() if key in takes}
        with warnings.catch_warnings(), explained(self.name):
            warnings.simplefilter("ignore")  # that a class is experimental
            return self.cls(**self.given, **own)


@contextmanager
def explained(name: str, install: str = "") -> Iterator[None]:
    """Turn what a library raises into a sentence that names what was asked for."""
    try:
        yield
    except ImportError as error:
        missing = install or error.name or getattr(error.__cause__, "name", None) or "a package"
        raise MissingExtra(
            f"{name} needs {missing}, which is not installed; get it with: pip install {missing}"
        ) from error
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise SpecError(f"{name} cannot be used here: {said}") from error


def _call(name: str, text: str) -> tuple[str, dict[str, Any]]:
    """Read a name, with arguments if there are any."""
    rule = f"{name}: write the name of a class, or Class(argument=value) with plain values"
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            raise SpecError(rule)
        pairs = {item.arg: ast.literal_eval(item.value) for item in node.keywords}
    except (SyntaxError, ValueError):
        raise SpecError(rule) from None
    if None in pairs:
        raise SpecError(rule)
    return node.func.id, {str(key): value for key, value in pairs.items()}
