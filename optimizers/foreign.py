"""Optimizers of other packages, by dotted name: any subclass of ``torch.optim.Optimizer``.

What a search needs to know of one, it reads from its constructor: which keyword arguments there
are, what they are when none is given, and from that a space.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, isclass, signature
from types import ModuleType
from typing import TYPE_CHECKING, Any

from autotune.optimizers.forms import AfterWarmup, has_modes

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer
    from torch.optim.optimizer import ParamsT

Space = dict[str, tuple[Any, ...]]

EXAMPLE = "torch.optim.RMSprop"
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_MANY = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_OTHER_USES = ("maximize", "differentiable")  # a trial minimizes, and differentiates no step
_REACH = 100.0  # how far a learning rate is searched to both sides of its default
_TIMESCALE = (30.0, 1e6)  # steps, as of our own
_WARMUP = ("linear", 0.0, 0.5)


def is_dotted(name: str) -> bool:
    """Return whether a name is one of a class in a module, as ``package.module.Class``."""
    parts = name.split(".")
    return len(parts) > 1 and all(map(str.isidentifier, parts))


@cache
def find(name: str) -> type[Optimizer]:
    """Return the class of a dotted name.

    Args:
        name: As ``torch.optim.RMSprop``; its module is imported, also from the working directory.

    Raises:
        ImportError: Its package is not installed, or cannot be imported.
        ValueError: It is no optimizer that a search can run: no subclass of
            ``torch.optim.Optimizer``, without a default lr, or one that wants a closure.
    """
    home, _, own = name.rpartition(".")
    module = _module(name, home)
    found = getattr(module, own, None)
    if found is None:
        close = get_close_matches(own, _classes(module), n=1)
        hint = f"; did you mean '{home}.{close[0]}'?" if close else ""
        raise ValueError(f"unknown optimizer '{name}': {home} has no class {own}{hint}")
    for problem in _problems(name, found):
        raise ValueError(problem)
    cls: type[Optimizer] = found
    return cls


def _module(name: str, home: str) -> ModuleType:
    """Import the module of an optimizer; raises as ``find``."""
    here = os.getcwd()
    known = {here, ""} & {*sys.path}
    sys.path += [] if known else [here]
    try:
        missing = _missing(home)
        if not missing:
            return import_module(home)
    except (Exception, SystemExit) as error:
        raise ImportError(
            f"optimizer '{name}' cannot be had, as importing {home} failed: "
            f"{type(error).__name__}: {_line(error)}"
        ) from error
    finally:
        if not known and here in sys.path:
            sys.path.remove(here)
    if "." in missing:
        raise ValueError(f"unknown optimizer '{name}': there is no module {missing}")
    raise ImportError(
        f"optimizer '{name}' needs the package '{missing}', which is not installed; install it "
        "here and wherever trials run, or correct the name"
    )


def _missing(home: str) -> str | None:
    """Return the first part of a module's path that does not exist, if one does not."""
    parts = home.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        try:
            there = path in sys.modules or find_spec(path) is not None
        except ModuleNotFoundError as error:  # the part before it is no package
            if error.name is None or not path.startswith(f"{error.name}."):
                raise
            there = False
        if not there:
            return path
    return None


def _classes(module: ModuleType) -> Iterator[str]:
    from torch.optim import Optimizer

    for name, value in vars(module).items():
        if isclass(value) and issubclass(value, Optimizer):
            yield name


def _problems(name: str, found: Any) -> Iterator[str]:
    """Yield a sentence for each reason why a search cannot run what was found."""
    from torch.optim import Optimizer

    if not (isclass(found) and issubclass(found, Optimizer)):
        kind = "a class" if isclass(found) else type(found).__name__
        yield f"{name} must be a subclass of torch.optim.Optimizer, got {kind} that is none"
        return
    if found.step is Optimizer.step:
        yield f"{name} defines no step; name a class that does"
    needed = [p.name for p in list(signature(found.step).parameters.values())[1:] if _needed(p)]
    if needed:
        yield (
            f"{name}.step needs {' and '.join(needed)}: trials call backward once and then step(), "
            "so only optimizers that step without a closure can be searched"
        )
    given = _arguments(found)
    if "lr" not in given:
        yield f"{name} takes no lr, which every search varies; name an optimizer that does"
    elif not (_is_number(given["lr"].default) and given["lr"].default > 0):
        yield (
            f"{name} has no positive number as its default lr, which tuning is compared with; "
            "search a subclass of yours that has one"
        )
    needed = [p.name for p in given.values() if _needed(p)]
    if needed:
        yield (
            f"{name} needs {' and '.join(needed)}, which a search cannot give it; search a "
            "subclass of yours that does"
        )


def _needed(parameter: Parameter) -> bool:
    return parameter.default is Parameter.empty and parameter.kind not in _MANY


def arguments(name: str) -> dict[str, Parameter]:
    """Return the keyword arguments of a dotted name's class. Raises as ``find``."""
    return _arguments(find(name))


def _arguments(cls: type[Optimizer]) -> dict[str, Parameter]:
    """Return the parameters of a constructor, without the first: what is to be optimized."""
    given = list(signature(cls).parameters.values())[1:]
    return {p.name: p for p in given if p.kind in _NAMED and p.name not in _OTHER_USES}


def _is_number(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and math.isfinite(value)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


@cache
def _defaults(name: str) -> dict[str, Any]:
    given = arguments(name).values()
    found = {parameter.name: _plain(parameter) for parameter in given}
    return {key: value for key, value in found.items() if value is not Parameter.empty}


def _plain(parameter: Parameter) -> Any:
    """Return a default as a plain value, a float where one is meant; ``empty`` if it is none."""
    value, kind = parameter.default, parameter.annotation
    if isinstance(value, tuple | list):
        items = [_item(item, kind) for item in value]
        return Parameter.empty if Parameter.empty in items else tuple(items)
    return _item(value, kind)


def _item(value: Any, kind: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if not _is_number(value):
        return Parameter.empty
    # Without annotations, 0 and 1 are momenta and decays; other whole numbers count something.
    real = "float" in str(kind) or (kind is Parameter.empty and value in (0, 1))
    return float(value) if real else value


def defaults(name: str) -> dict[str, Any]:
    """Return the plain keyword arguments of an optimizer, with their defaults.

    Those that are no number, word, switch, tuple of these or None are left to the class. A whole
    number is an int only where whole numbers are meant. Raises as ``find``.

    Example:
        >>> from autotune.optimizers import foreign
        >>> foreign.defaults("torch.optim.Adagrad")["lr"]
        0.01
    """
    return dict(_defaults(name))


def decays(name: str) -> bool:
    """Return whether an optimizer takes ``weight_decay`` as a number."""
    return _is_number(_defaults(name).get("weight_decay"))


def split(name: str, model: Module, hyper: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a model's parameters in groups by weight decay, or in one where there is none."""
    from autotune.optimizers import groups

    found = groups.split(model, hyper.get("weight_decay", 0.0))
    return found if decays(name) else [{"params": [p for group in found for p in group["params"]]}]


def schedule(name: str) -> AfterWarmup:
    """Return what the learning rate does after its warm-up, as ``registry.schedule``.

    It stays where it is for an optimizer that has ``train()`` and ``eval()``, which averages
    weights instead. Raises as ``find``.
    """
    return "constant" if has_modes(find(name)) else "cosine"


def presets(name: str) -> tuple[dict[str, Any], ...]:
    """Return the settings to try first: the defaults alone. Raises as ``find``."""
    given = {key: value for key, value in _defaults(name).items() if value is not None}
    warmup = 0.05 if schedule(name) == "constant" else 0.1
    return ({**given, "origin": "default", "warmup": warmup},)


def space(name: str) -> Space:
    """Return what a search varies, as ``registry.space``: from the constructor's defaults.

    That is lr around its default, weight decay as a timescale, betas and momentum where they are
    numbers, and the warm-up. Raises as ``find``.

    Example:
        >>> from autotune.optimizers import foreign
        >>> sorted(foreign.space("torch.optim.RMSprop"))
        ['decayed', 'lr', 'one_minus_momentum', 'timescale', 'warmup']
    """
    given = _defaults(name)
    lr = float(given["lr"])
    found: Space = {"lr": ("log", lr / _REACH, lr * _REACH)}
    if decays(name):
        found |= {"decayed": ("choice", ("yes", "no")), "timescale": _timescale(given)}
    for key, kept in _kept(given):
        found[key] = _around(1.0 - kept)
    return {**found, "warmup": _WARMUP}


def _timescale(given: Mapping[str, Any]) -> tuple[str, float, float]:
    """Return the range of 1 / (lr * weight_decay), which holds the default's."""
    low, high = _TIMESCALE
    rate = given["lr"] * given["weight_decay"]
    return ("log", min(low, 1 / rate), max(high, 1 / rate)) if rate else ("log", low, high)


def _kept(given: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield what a step keeps, by its coordinate: betas and momentum that are below 1."""
    betas, momentum = given.get("betas"), given.get("momentum")
    if isinstance(betas, tuple) and all(map(_is_share, betas)):
        yield from ((f"one_minus_beta{i}", beta) for i, beta in enumerate(betas, 1))
    if _is_share(momentum):
        yield "one_minus_momentum", float(momentum or 0.0)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value < 1


def _around(lost: float) -> tuple[str, float, float]:
    """Return a range of 1 - beta: shorter averages are of use in runs that are short."""
    high = 0.5 if lost <= 0.5 else max(1.0, lost)
    return ("log", min(lost / 10.0, 0.02), min(lost * 50.0, high))


def create(name: str, params: ParamsT, hyper: Mapping[str, Any]) -> Optimizer:
    """Return a new optimizer of a dotted name.

    Args:
        name: Its dotted name.
        params: What the class takes.
        hyper: Keyword arguments that the class has; one that is as its default is not said.

    Raises:
        TypeError: A switch is given something else, or a number is given a word.
        ImportError, ValueError: As ``find``, and whatever the class raises for a value.
    """
    given = arguments(name)
    plain = {key: tuple(v) if isinstance(v, list) else v for key, v in hyper.items()}
    for key, value in plain.items():
        _refuse_kind(given[key], value)
    told = {key: value for key, value in plain.items() if not _same(value, given[key].default)}
    cls: Any = find(name)
    made: Optimizer = cls(params, **told)
    return made


def _refuse_kind(parameter: Parameter, value: Any) -> None:
    """Refuse a word for a switch or for a number, which a class may take for something else."""
    default, words = parameter.default, str(parameter.annotation)
    other = any(word in words for word in ("str", "int", "float", "Literal"))
    switch = isinstance(default, bool) or (default is None and "bool" in words and not other)
    if switch and not (isinstance(value, bool) or value is default):
        raise TypeError(f"{parameter.name} must be True or False, got {value!r}")
    if _is_number(default) and not _is_number(value):
        raise TypeError(f"{parameter.name} must be a number, got {value!r}")


def _same(value: Any, default: Any) -> bool:
    if isinstance(default, list):
        default = tuple(default)
    kinds = (bool, str, type(None))
    if isinstance(value, kinds) or isinstance(default, kinds):
        return value is default or (type(value) is type(default) and value == default)
    return isinstance(default, int | float | tuple) and bool(value == default)
