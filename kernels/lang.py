"""The language of update rules: ``+ - * /`` and some functions of ``tl``.

These are ``sqrt``, ``exp``, ``log``, ``abs``, ``where`` and ``maximum``.

For bits there is also ``tl.cast(value, tl.uint32)``, which keeps the lower 32 of them.

A rule is plain Python until something binds it: ``plain`` to torch tensors, ``devices`` to Triton,
``autotune.kernels.numba.step`` to single numbers compiled by Numba.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from functools import cache
from itertools import repeat
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Function",
    "bind",
    "devices",
    "foreign",
    "instead",
    "interpreted",
    "jit",
    "kernel",
    "plain",
    "tl",
]


class Function:
    """Arithmetic that is not bound to a backend yet."""

    def __init__(self, fn: FunctionType) -> None:
        self.fn = fn
        self.__doc__, self.__module__ = fn.__doc__, fn.__module__

    def __call__(self, *values: Any) -> Any:
        """Refuse: a rule can be called only after it is bound."""
        raise RuntimeError(f"{self!r} cannot be called until it is bound; use plain(rule)")

    def __repr__(self) -> str:
        return f"<rule {self.fn.__module__}.{self.fn.__qualname__}>"

    def __reduce__(self) -> str:
        return self.fn.__qualname__


class Foreign(Function):
    """A function that a device's library has; where Triton interprets, another stands in."""

    def __init__(self, fn: FunctionType, stand_in: Callable[..., Any]) -> None:
        super().__init__(fn)
        self.stand_in = stand_in


def foreign(stand_in: Callable[..., Any]) -> Callable[[Callable[..., Any]], Foreign]:
    """Mark a function of a device's library, which Triton's interpreter does not have."""

    def marked(fn: Callable[..., Any]) -> Foreign:
        return Foreign(_plain_function(fn), stand_in)

    return marked


def jit(fn: Callable[..., Any]) -> Function:
    """Mark a function of numbers as part of a rule.

    Inside it, write numbers with a point (``1.0``): they take the precision the rule runs in. But
    of two numbers ``where`` makes single precision: let it choose between values of the tensors.
    """
    return Function(_plain_function(fn))


def instead(rule: Function, name: str, **others: Function) -> Function:
    """Return a rule that calls other rules where one names some, as the same body serves both.

    Args:
        rule: The one that is written out.
        name: The variable that the result is assigned to, by which it pickles.
        **others: What is called, by the names in ``rule``.

    Raises:
        ValueError: The rule has no such name.

    Example:
        ::

            ahead_of_proximal = instead(ahead_of_descent, "ahead_of_proximal", descent=proximal)
    """
    missing = others.keys() - set(rule.fn.__code__.co_names)
    if missing:
        raise ValueError(f"{rule!r} must call the rules to replace, got {', '.join(missing)}")
    code = rule.fn.__code__.replace(co_name=name, co_qualname=name)
    made = FunctionType(code, {**rule.fn.__globals__, **others})
    return Function(made)


def _plain_function(fn: Callable[..., Any]) -> FunctionType:
    if not isinstance(fn, FunctionType):
        raise TypeError(f"a rule must be a plain Python function, got {fn!r}")
    return fn


class _Unbound:
    """What ``tl`` is in the file of a rule, until the rule is bound."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"tl.{name} cannot be used until its rule is bound; use plain(rule)")


tl: Any = _Unbound()


def bind(
    rule: Function,
    language: Any,
    wrap: Callable[[FunctionType], Any],
    number: Callable[[float], Any] = float,
) -> Any:
    """Return ``rule`` with ``tl`` meaning ``language``, and every rule it calls likewise.

    Args:
        rule: A function marked by ``jit``.
        language: Has ``sqrt``, ``exp``, ``log``, ``abs``, ``where``, ``maximum``, ``cast`` and
            ``uint32``.
        wrap: Applied to each function, the innermost first.
        number: Converts the numbers written in the rule.
    """
    if isinstance(rule, Foreign) and wrap is _plainly:
        return rule.stand_in
    code, names = rule.fn.__code__, rule.fn.__globals__
    constants = tuple(number(c) if type(c) is float else c for c in code.co_consts)
    bound = {"tl": language, "__name__": rule.fn.__module__, "__builtins__": builtins}
    for name in code.co_names:
        if isinstance(names.get(name), Function):
            bound[name] = bind(names[name], language, wrap, number)
    made = FunctionType(code.replace(co_consts=constants), bound, rule.fn.__name__)
    made.__annotations__ = rule.fn.__annotations__  # Triton finds its constants there
    return wrap(made)


def _sqrt(value: Any) -> Any:
    return torch.sqrt(value) if isinstance(value, Tensor) else math.sqrt(value)


def _exp(value: Any) -> Any:
    return torch.exp(value) if isinstance(value, Tensor) else math.exp(value)


def _log(value: Any) -> Any:
    return torch.log(value) if isinstance(value, Tensor) else math.log(value)


def _where(condition: Any, yes: Any, no: Any) -> Any:
    if isinstance(condition, Tensor):
        return torch.where(condition, yes, no)
    return yes if condition else no


def _maximum(a: Any, b: Any) -> Any:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.maximum(a, b)
    return torch.clamp(a, min=b) if isinstance(a, Tensor) else max(a, b)


def _cast(value: Any, bits: int) -> Any:
    return value & bits


# torch computes unsigned 32-bit numbers in int64.
_TORCH = SimpleNamespace(
    sqrt=_sqrt,
    exp=_exp,
    log=_log,
    abs=abs,
    where=_where,
    maximum=_maximum,
    cast=_cast,
    uint32=0xFFFFFFFF,
)


@cache
def plain(rule: Function) -> Callable[..., Any]:
    """Return the rule as an ordinary function of torch tensors and numbers."""
    bound: Callable[..., Any] = bind(rule, _TORCH, lambda fn: fn)
    return bound


def interpreted() -> bool:
    """Whether Triton interprets kernels in Python, on CPU tensors; imports Triton."""
    import triton

    return bool(triton.knobs.runtime.interpret)


def devices(*rules: Function | None) -> tuple[Any, ...]:
    """Return rules as functions that Triton kernels can call, None as it is; imports Triton."""
    return tuple(map(_device, rules, repeat(interpreted())))


def kernel(rule: Function) -> Any:
    """Return a function of pointers as a Triton kernel; imports Triton."""
    return _kernel(rule, interpreted())


@cache
def _device(rule: Function | None, interpreting: bool) -> Any:
    import triton
    import triton.language

    if rule is None:
        return None
    return bind(rule, triton.language, _plainly if interpreting else triton.jit)


@cache
def _kernel(rule: Function, interpreting: bool) -> Any:
    import triton

    bound = _device(rule, interpreting)
    return triton.jit(bound) if interpreting else bound


def _plainly(fn: FunctionType) -> Any:
    """Set the attribute where Triton's interpreter looks for a function, and do not decorate it.

    A decorated function patches all of Triton's language at each call, which takes half the time.
    """
    fn.__dict__["fn"] = fn
    return fn
