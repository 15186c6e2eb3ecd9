"""What other tools' words for hyper-parameters mean here."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from autotune import optimizers
from autotune.errors import SpecError, UnknownName
from autotune.registry import unknown
from autotune.space import spaces
from autotune.space.coordinates import decode

OPTIMIZER = "optimizer"
_PREFIX = re.compile(
    r"^(config[/.]|params_|hparams[/.]|optimi[sz]er[/._]|optim[/._]|opt[/._]|adam_)"
)
_NAMED = re.compile(r"\boptim(izer)?[/._](name|type)$")
# Arguments that other words say.
_SAY = {
    "betas": re.compile(r"betas?\d?$|one_minus_beta\d$"),
    "weight_decay": re.compile(r"weight_decay$|timescale$|decayed$"),
}
# Words of torch, timm, Hugging Face, nanoGPT and optax.
_WORDS = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "epsilon": "eps",
    "b1": "beta1",
    "b2": "beta2",
    "b3": "beta3",
    "betas_0": "beta1",
    "betas_1": "beta2",
    "betas_2": "beta3",
    "warmup_ratio": "warmup",
    "warmup_fraction": "warmup",
    "opt": OPTIMIZER,
    "optim": OPTIMIZER,
}


def plain(name: str) -> str:
    """Return another tool's word in ours, where it is one of the common ones.

    Example:
        >>> from autotune.importing.names import plain
        >>> [plain(name) for name in ("learning_rate", "config/betas.0", "adam_beta2", "dropout")]
        ['lr', 'beta1', 'beta2', 'dropout']
    """
    word = re.sub(r"[-\s]+", "_", name.strip().lower())
    if _NAMED.search(word):
        return OPTIMIZER
    shorter = _PREFIX.sub("", word)
    while shorter and shorter != word:
        word, shorter = shorter, _PREFIX.sub("", shorter)
    word = re.sub(r"[./]", "_", word)
    return _WORDS.get(word, word)


def words(optimizer: str) -> set[str]:
    """Return what a setting of an optimizer may be said by: arguments, betas, coordinates."""
    defaults = optimizers.defaults(optimizer)
    betas = defaults.get("betas")
    count = len(betas) if isinstance(betas, tuple | list) else 0
    known = spaces.known(optimizers.space(optimizer), defaults)
    return {*known, *defaults, *(f"beta{place}" for place in range(1, count + 1)), "warmup"}


def translated(
    values: Mapping[str, Any], mapping: Mapping[str, str], known: Iterable[str], where: str
) -> tuple[dict[str, Any], list[str]]:
    """Return values by our words, and the names that mean nothing here.

    Args:
        values: By the other tool's names.
        mapping: Our words for some of these, which lead.
        known: Our words.
        where: The run, for the sentence.

    Raises:
        SpecError: Two names mean the same.
    """
    found: dict[str, Any] = {}
    said: dict[str, str] = {}
    foreign = []
    for name, value in values.items():
        word = mapping.get(name) or plain(name)
        if word not in known:
            foreign.append(name)
        elif word in found:
            raise SpecError(
                f"{where}: {said[word]} and {name} both say {word}; leave one out with --ignore"
            )
        else:
            found[word], said[word] = read_value(value), name
    return found, foreign


def check_words(option: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse words that are none of ours; raises UnknownName."""
    for word in given:
        if word not in known:
            raise UnknownName(f"{option}: {unknown('parameter', word, known)}")


def setting(
    optimizer: str, values: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], float | None]:
    """Return the arguments that values say, and the warm-up; None where nothing says that.

    What no value says is left to the optimizer's defaults.

    Args:
        optimizer: Name of the optimizer.
        values: By our words.
        where: The run, for the sentence.

    Raises:
        SpecError: A value is not finite, or no number where one is needed.
    """
    _check_values(values, where)
    defaults = optimizers.defaults(optimizer)
    known = spaces.known(optimizers.space(optimizer), defaults) - {"momentum"}
    coordinates = {name: value for name, value in values.items() if name in known}
    _check_numbers(values, defaults, where)
    try:
        hyper, warmup = decode(coordinates, defaults)
        hyper |= _betas(values, hyper)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{where}: {error}") from None
    own = {k: v for k, v in values.items() if k in defaults and k not in {*known, "betas"}}
    hyper |= {name: _counted(value, defaults[name]) for name, value in own.items()}
    said = {name for name, told in _SAY.items() if any(map(told.match, values))}
    kept = {k: v for k, v in hyper.items() if k in {*values, *said} or v != defaults.get(k)}
    return kept, (warmup if "warmup" in values else None)


def _counted(value: Any, default: Any) -> Any:
    """Return a whole number as one, where the default counts something: a table has 5.0 for 5."""
    counts = isinstance(default, int) and not isinstance(default, bool)
    return int(value) if counts and isinstance(value, float) and value.is_integer() else value


def _betas(values: Mapping[str, Any], hyper: Mapping[str, Any]) -> dict[str, Any]:
    """Return the betas that are said one by one or together; those near one are kept as given."""
    betas = list(values.get("betas") or hyper.get("betas") or ())
    for place in range(len(betas)):
        betas[place] = float(values.get(f"beta{place + 1}", betas[place]))
    return {"betas": tuple(betas)} if betas else {}


def read_value(value: Any) -> Any:
    """Return a value as a text says it: a number, numbers, or a word."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        pass
    if value.strip()[:1] in ("[", "("):
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            return value
    return {"true": True, "false": False}.get(value.lower(), value)


def _check_numbers(values: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
    """Refuse a word where a number is needed, and anything else than their number for betas."""
    for name, value in values.items():
        default = defaults.get(name)
        numeric = _is_number(default) or (name not in defaults and name not in ("decayed", "betas"))
        if numeric and not _is_number(value):
            raise SpecError(f"{where}: {name} must be a number, got {value!r}")
        if name == "betas" and isinstance(default, tuple | list):
            parts = value if isinstance(value, tuple | list) else ()
            if len(parts) != len(default) or not all(map(_is_number, parts)):
                raise SpecError(f"{where}: betas must be {len(default)} numbers, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _check_values(values: Mapping[str, Any], where: str) -> None:
    for name, value in values.items():
        parts = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
        for part in parts:
            if isinstance(part, float) and not math.isfinite(part):
                raise SpecError(f"{where}: {name} must be finite, got {part}")
