"""Optimizers by name: those installed under the entry points ``autotune.optimizers``.

Each also has names for its other forms: ``NAME-win`` and ``NAME-win2``, the same class accelerated,
``NAME-sf``, Schedule-Free, and some with a gradient filter, as ``NAME-mars``. Its class says which.
Other packages' are known by their dotted names (``foreign``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import Parameter, signature
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from autotune.optimizers import controllers, foreign, options
from autotune.optimizers.forms import ENDINGS, AfterWarmup, arguments, forms
from autotune.optimizers.forms import schedule as schedule_of
from autotune.optimizers.nearest import near
from autotune.optimizers.plugins import BrokenPlugin, broken, loaded

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer
    from torch.optim.optimizer import ParamsT

    from autotune.optimizers.base import RuleOptimizer

_NOT_HYPER = (
    "params",
    "backend",
    "state_dtype",
    "stochastic_rounding",
    "compact",
    "capturable",
)
# What an acceleration reads, and nothing else.
_READ = {
    "win": ("reckless_steps",),
    "win2": ("reckless_steps",),
    "schedule-free": ("r", "weight_lr_power"),
    options.LOOKAHEAD: options.AHEAD,
    **{word: ("gradient_filter", *read) for word, read in options.READ["gradient_filter"].items()},
}
# Prefix of what a class says of a form.
_OWN = {"schedule-free": "sf_", **dict.fromkeys(("none", *options.SPACES), "")}
_WIN_SPACE = {"gamma1": ("log", 1.1, 8.0), "gamma_ratio": ("log", 1.0, 8.0)}


@cache
def _entries() -> dict[str, EntryPoint]:
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group="autotune.optimizers"):
        taken = entries.setdefault(entry.name, entry)
        if taken.value != entry.value:
            raise BrokenPlugin(
                f"optimizer '{entry.name}' is registered twice, "
                f"as {taken.value} and as {entry.value}; uninstall one"
            )
    return entries


def names() -> list[str]:
    """Return every name that ``create`` knows, sorted.

    These are the optimizers installed under the entry points ``autotune.optimizers``, each also
    with '-win', '-win2', '-sf' and the like behind its name, as its class has these forms.

    Raises:
        ValueError: Two packages register different classes under one name.

    Example:
        >>> from autotune.optimizers import names
        >>> [name for name in names() if name.startswith("adan")]
        ['adan', 'adan-grokfast', 'adan-mars', 'adan-nema', 'adan-sf', 'adan-win', 'adan-win2']
    """
    return sorted({form for name, entry in _entries().items() for form in _forms(name, entry)})


def _forms(name: str, entry: EntryPoint) -> Iterator[str]:
    yield name
    try:
        endings = forms(entry)
    except ValueError as error:
        raise BrokenPlugin(str(error)) from None
    except Exception as error:
        raise broken(entry, error) from error
    for ending in endings:
        yield f"{name}-{ending}"


def class_names() -> set[str]:
    """Return the names, in Python, of the registered classes of this package."""
    return {entry.attr for entry in _entries().values() if _is_ours(entry)}


def class_named(name: str) -> type[RuleOptimizer] | None:
    """Return the registered class of this package with a name of Python's, or None."""
    for entry in _entries().values():
        if entry.attr == name and _is_ours(entry):
            found: type[RuleOptimizer] = entry.load()
            return found
    return None


def _is_ours(entry: EntryPoint) -> bool:
    return entry.module.startswith("autotune.optimizers.")


def resolve(name: str) -> tuple[type[RuleOptimizer], str]:
    """Return the class behind a registered name, and the form that the name asks for.

    That is an acceleration, a gradient filter, or 'none'.
    """
    base, _, ending = name.rpartition("-")
    if name in _entries():
        return loaded(_entries()[name]), "none"
    if base in _entries() and ending in forms(_entries()[base]):
        return loaded(_entries()[base]), ENDINGS[ending]
    if foreign.is_dotted(base) and ending in ENDINGS:
        raise ValueError(
            f"unknown optimizer '{name}': '-{ending}' is for the rules of this package, and {base} "
            f"brings its own step; use '{base}'"
        )
    raise ValueError(unknown(name))


def is_foreign(name: str) -> bool:
    """Return whether a name is the dotted one of another package's optimizer."""
    return foreign.is_dotted(name) and name not in _entries()


def stacks(name: str) -> bool:
    """Return whether ``Stacked`` can step many replicas by an optimizer."""
    return not is_foreign(name) and resolve(name)[0].stackable


def check_name(name: str) -> None:
    """Refuse a name that ``create`` does not know; a dotted one is imported for it.

    Raises:
        ValueError: The name is unknown, or of what a search cannot run.
        ImportError: The package of a dotted name is not installed.
    """
    if name in names():
        return
    if not is_foreign(name):
        resolve(name)
    cls = foreign.find(name)
    home = f"{cls.__module__}:{cls.__qualname__}"
    own = next((own for own, entry in _entries().items() if entry.value == home), None)
    if own:
        raise ValueError(f"optimizer '{name}' is registered as '{own}'; use that name")


def importable(name: str) -> str:
    """Return the dotted name under which other programs import an optimizer's class."""
    return name if is_foreign(name) else f"autotune.optimizers.{resolve(name)[0].__name__}"


def second_order(name: str) -> bool:
    """Return whether steps of an optimizer differentiate the gradients once more."""
    return not is_foreign(name) and resolve(name)[0].second_order


def unknown(name: str) -> str:
    """Return the error for a name that is no optimizer's."""
    known = names()
    words = sorted(name.split("-"))
    turned = [other for other in known if sorted(other.split("-")) == words]  # as sf-adamw
    hint = f"; did you mean '{turned[0]}'?" if turned else near(name, known)
    shown = f"the {len(known)} that 'autotune list optimizers' shows"
    return f"unknown optimizer '{name}'{hint} (known: {shown})"


def create(name: str, params: ParamsT, **hyper: Any) -> RuleOptimizer:
    """Return a new optimizer, chosen by name.

    Args:
        name: One of ``names()``; 'adamw-win2' is 'adamw' with ``acceleration='win2'``. Or the
            dotted name of another package's optimizer, as 'torch.optim.RMSprop': one of that class
            is returned.
        params: What the class takes: tensors, (name, tensor) pairs, or dictionaries, one for each
            group.
        hyper: Keyword arguments of the class; the others keep its defaults.

    Raises:
        TypeError: The class takes no such keyword, or refuses the type of a value.
        ValueError: The name is unknown, ``acceleration`` contradicts it, or the class refuses a
            value.
        ImportError: ``backend`` needs a package that is not installed.

    Example:
        >>> import torch
        >>> from autotune.optimizers import create
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = create("adamw-win2", model.parameters(), lr=2e-3)
        >>> type(optimizer).__name__, optimizer.param_groups[0]["acceleration"]
        ('AdamW', 'win2')
    """
    if is_foreign(name):
        _refuse_unknown(name, hyper, foreign.arguments(name))
        return foreign.create(name, params, hyper)  # type: ignore[return-value]  # as is said above
    cls, form = resolve(name)
    _refuse_unknown(name, hyper, [key for key in signature(cls).parameters if key != "params"])
    for key, value in arguments(form).items():
        if hyper.setdefault(key, value) != value:
            raise ValueError(
                f"{key} must be '{value}' for {name}, got {hyper[key]!r}; "
                f"use '{name.rpartition('-')[0]}' to choose it freely"
            )
    return cls(params, **hyper)


def build(name: str, model: Module, hyper: Mapping[str, Any]) -> Optimizer:
    """Return a new optimizer for a model, ready to step, whose groups are those of ``split``.

    One that has ``train()`` and ``eval()``, as weights to measure are not those it steps, is in
    training.

    Args:
        name: As for ``create``.
        model: The module to train.
        hyper: Keyword arguments of the class. Beside them ``controller`` may name one
            (``controllers``), and words that begin with ``controller_`` set its arguments.

    Raises:
        TypeError: ``model`` is not a module, or as ``create``.
        ImportError, ValueError: As ``create`` and ``split``.

    Example:
        >>> import torch
        >>> from autotune.optimizers import build
        >>> optimizer = build("torch.optim.RMSprop", torch.nn.Linear(2, 1), {"weight_decay": 0.1})
        >>> [group["weight_decay"] for group in optimizer.param_groups]
        [0.1, 0.0]
    """
    taken = foreign.arguments(name) if is_foreign(name) else ()
    own, controlled = controllers.parted(hyper, taken)
    groups = foreign.split(name, model, own) if is_foreign(name) else None
    made: Any = create(name, groups or resolve(name)[0].split(model, own), **own)
    controllers.attach(made, model, controlled)
    if callable(getattr(made, "train", None)) and callable(getattr(made, "eval", None)):
        made.train()
    return cast("Optimizer", made)


def _refuse_unknown(name: str, hyper: Iterable[str], known: Collection[str]) -> None:
    for key in hyper:
        if key not in known:
            listed = sorted(known)
            hint = near(key, listed)
            raise TypeError(f"{name} takes no '{key}'{hint} (known: {', '.join(listed) or 'none'})")


def defaults(name: str, asked: Iterable[str] = ()) -> dict[str, Any]:
    """Return the hyper-parameters an optimizer has when none is given.

    Where one is None, the optimizer decides itself, and need not be told. Options that are off are
    left out, but for those that ``asked``, names of a space, belong to.
    """
    if is_foreign(name):
        return foreign.defaults(name)
    cls, form = resolve(name)
    given = signature(cls).parameters.values()
    hyper = {
        parameter.name: parameter.default
        for parameter in given
        if parameter.name not in _NOT_HYPER and parameter.default is not Parameter.empty
    }
    read = _READ.get(form, ())
    unread = {*options.DEFAULTS, *chain.from_iterable(_READ.values()), "acceleration"}
    own = {k: v for k, v in hyper.items() if k in read or k not in unread}
    beside = {k: v for k, v in options.beside(asked).items() if k in hyper}
    return {**beside, **own, **arguments(form)}


def may_set(name: str) -> set[str]:
    """Return the names of options that are off by default and an optimizer takes, as of a space."""
    if is_foreign(name):
        return set()
    cls, form = resolve(name)
    taken = options.DEFAULTS.keys() & signature(cls).parameters.keys()
    unread = () if form == options.LOOKAHEAD else options.AHEAD
    return set(map(options.coordinate, taken.difference(unread)))


def schedule(name: str) -> AfterWarmup:
    """Return what the learning rate does after its warm-up: ``cosine`` to 0, or ``constant``."""
    return foreign.schedule(name) if is_foreign(name) else schedule_of([resolve(name)[1]])


def space(name: str, asked: Mapping[str, Any] | None = None) -> dict[str, tuple[Any, ...]]:
    """Return what a search may vary: ``('log' | 'linear', low, high)`` or ``('choice', values)``.

    ``timescale`` is ``1 / (lr * weight_decay)`` in steps, ``gamma_ratio`` the second of
    ``reckless_steps`` over the first, ``warmup`` a fraction of the schedule. ``asked`` are changes:
    where they turn a filter on, its own hyper-parameters are varied too.
    """
    if is_foreign(name):
        return foreign.space(name)
    cls, form = resolve(name)
    known = options.ranges({**(asked or {}), **arguments(form)})
    beside = {k: v for k, v in known.items() if k in may_set(name)}
    own = {"schedule-free": cls.sf_space, "win": _WIN_SPACE, "win2": _WIN_SPACE}
    return {**cls.space, **own.get(form, {}), **beside}


def half_lives(name: str, asked: Mapping[str, Any] | None = None) -> dict[str, tuple[float, float]]:
    """Return the shortest and longest half-life, as parts of a run, by coordinate of ``space``.

    Only registered optimizers say any.
    """
    if name not in names():
        return {}
    found = {**options.HALF_LIVES, **resolve(name)[0].half_lives}
    return {k: v for k, v in found.items() if k in space(name, asked)}


def presets(name: str) -> tuple[dict[str, Any], ...]:
    """Return settings to try first, each with its origin: what tuning is compared with leads.

    That is what the authors recommend (origin ``authors``), else the defaults (``default``). Each
    is ``defaults(name)`` with some values changed, plus ``origin`` and ``warmup``.
    """
    if is_foreign(name):
        return foreign.presets(name)
    cls, form = resolve(name)
    prefix = _OWN.get(form, "win_")
    constant = schedule(name) == "constant"
    base = {**defaults(name), "origin": "default", "warmup": 0.05 if constant else 0.1}
    told, others = getattr(cls, f"{prefix}recommended"), getattr(cls, f"{prefix}presets")
    first = {**base, **told, "origin": "authors"} if told else base
    own = (*cls.filter_presets.get(form, ()), *others)
    return (first, *({**base, **other} for other in own))
