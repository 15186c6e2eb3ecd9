"""What a function of this process does, as a hash: it has no file whose text could be taken."""

from __future__ import annotations

import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from hashlib import sha256
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from autotune.tasks.source import meaning

_PLAIN: tuple[type, ...] = (
    *(bool, int, float, complex, str, bytes, type(None)),
    *(Enum, PurePath, torch.dtype, torch.device),
)

_MEMBERS: tuple[type, ...] = (FunctionType, *_PLAIN)  # of a class


def fingerprint(function: Callable[..., Any]) -> str:
    """Return a hash of a function's source and of what it uses.

    Followed are functions and classes of its own module, and the numbers, texts, collections and
    dataclasses of them, tensors and arrays among its globals, its closure and its defaults. Of
    anything else only the type counts.
    """
    walk = _Walk(getattr(_inner(function), "__module__", None))
    return sha256("\n".join(walk.parts(function)).encode("utf-8", "backslashreplace")).hexdigest()


def _inner(function: Any) -> Any:
    return _inner(function.func) if isinstance(function, partial) else function


class _Walk:
    """Spells out values, each once."""

    def __init__(self, module: str | None) -> None:
        self.module = module
        self.seen: dict[int, Any] = {}  # holds what it has seen: an id must not be taken again

    def parts(self, value: Any) -> Iterator[str]:
        """Spell out a value and what it uses."""
        if isinstance(value, _PLAIN):
            yield repr(value)
            return
        yield type(value).__qualname__
        if id(value) in self.seen:
            return
        self.seen[id(value)] = value
        for part in self._inside(value):
            yield from (part,) if isinstance(part, str) else self.parts(part[0])

    def _inside(self, value: Any) -> Iterator[str | tuple[Any]]:
        """Return words, and each further value in a tuple of one."""
        if isinstance(value, partial):
            yield from ((value.func,), (value.args,), (value.keywords,))
        elif isinstance(value, MethodType):
            yield (value.__func__,)
        elif isinstance(value, FunctionType):
            yield from self._function(value)
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, torch.Tensor | np.ndarray):
            yield _content(value)
        elif callable(value) and type(value).__module__ == self.module:
            yield (type(value),)
        else:
            yield from _items(value)

    def _function(self, function: FunctionType) -> Iterator[str | tuple[Any]]:
        if function.__module__ != self.module:
            yield f"{function.__module__}.{function.__qualname__}"
            return
        yield _source(function)
        yield from ((function.__defaults__,), (function.__kwdefaults__,))
        for name, value in _used(function):
            yield name
            yield (value,)

    def _class(self, cls: type) -> Iterator[str | tuple[Any]]:
        yield f"{cls.__module__}.{cls.__qualname__}"
        if cls.__module__ == self.module:
            yield from ((base,) for base in cls.__bases__)
            members = {k: v for k, v in vars(cls).items() if isinstance(v, _MEMBERS)}
            for name in sorted(members.keys() - {"__doc__", "__module__", "__firstlineno__"}):
                yield name
                yield (members[name],)


def _items(value: Any) -> Iterator[str | tuple[Any]]:
    """Return what a collection holds; nothing of a value that is none."""
    if isinstance(value, SimpleNamespace):
        yield (vars(value),)
    elif is_dataclass(value):
        yield from ((getattr(value, field.name),) for field in fields(value))
    elif isinstance(value, Mapping):
        yield from ((part,) for item in value.items() for part in item)
    elif isinstance(value, list | tuple):
        yield str(len(value))
        yield from ((part,) for part in value)
    elif isinstance(value, set | frozenset):
        yield from sorted(map(_plain, value))  # in whatever order it iterates


def _source(function: FunctionType) -> str:
    """Return a hash of a function's text, or its code where the text is not its own or unknown."""
    if function.__name__ != "<lambda>":
        with suppress(OSError, TypeError):  # typed at a prompt
            return meaning(textwrap.dedent(inspect.getsource(function)).encode())
    return "\n".join(_code(function.__code__))


def _code(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars))
    for constant in code.co_consts:
        yield from _code(constant) if isinstance(constant, CodeType) else (_plain(constant),)


def _plain(value: Any) -> str:
    """Spell out a constant of a language: the same in every process, whatever its hashes."""
    if isinstance(value, tuple | frozenset):
        parts = map(_plain, value)
        return str(tuple(sorted(parts) if isinstance(value, frozenset) else parts))
    plain = value is ... or isinstance(value, _PLAIN)
    return repr(value) if plain else type(value).__qualname__


def _used(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Return what a function finds outside itself, by name; what it assigns is its own."""
    read, assigned = set[str](), set[str]()
    for name, written in _globals(function.__code__):
        (assigned if written else read).add(name)
    for name in sorted(read - assigned):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not yet assigned
            yield name, cell.cell_contents


def _globals(code: CodeType) -> Iterator[tuple[str, bool]]:
    for step in dis.get_instructions(code):
        if step.opname in {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"}:
            yield step.argval, step.opname == "STORE_GLOBAL"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


def _content(value: torch.Tensor | np.ndarray[Any, Any]) -> str:
    facts = f"{tuple(value.shape)} {value.dtype}"
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.is_meta or value.is_quantized:
            return facts
        plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
        value = plain.reshape(-1).view(torch.uint8).numpy()
    if value.dtype.hasobject:
        return facts
    return f"{facts} {sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
