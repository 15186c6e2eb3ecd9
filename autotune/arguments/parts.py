"""What the forms share: numbers as text, the schedule in steps, and the sentence of a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.errors import SpecError
from autotune.optimizers import options
from autotune.optimizers.registry import defaults

FORM = ("acceleration", "reckless_steps", "r", "weight_lr_power")


def text(value: Any) -> str:
    """Return a value as a word: numbers to the last bit, booleans as Python writes them."""
    return value if isinstance(value, str) else repr(value)


def literal(value: Any) -> str:
    """Return a value as ``ast.literal_eval`` reads it, without the parentheses of a tuple."""
    if isinstance(value, tuple | list):
        return ",".join(map(repr, value))
    return repr(value)


def rising(warmup: float, steps: int) -> int:
    """Return the steps of the warm-up."""
    return round(warmup * steps)


def clipped(hyper: Mapping[str, Any]) -> float:
    """Return the largest norm of all gradients; 0 is off."""
    return float(hyper.get("max_grad_norm", 0.0))


def plain(
    framework: str, optimizer: str, hyper: Mapping[str, Any], known: Sequence[str]
) -> dict[str, Any]:
    """Return the arguments of an optimizer in its plain form.

    Args:
        framework: Its name, for the sentence.
        optimizer: Registry name.
        hyper: Its arguments.
        known: Optimizers that the framework has, which a refusal names.

    Raises:
        SpecError: The setting is of another form.
    """
    for name in options.READ:
        if hyper.get(name, options.DEFAULTS[name]) != options.DEFAULTS[name]:
            raise refusal(framework, f"{name}={hyper[name]} of {optimizer}", "search without it")
    hyper = {name: value for name, value in hyper.items() if name not in options.DEFAULTS}
    mode = hyper.get("acceleration", "none")
    if mode == "schedule-free":
        raise refusal(framework, f"Schedule-Free, which {optimizer} is", _instead(optimizer, known))
    if mode == options.LOOKAHEAD:
        raise refusal(framework, f"acceleration={mode} of {optimizer}", "search without it")
    if mode != "none":
        raise refusal(framework, f"Win, which {optimizer} is", _instead(optimizer, known))
    return {name: value for name, value in hyper.items() if name not in FORM}


def _instead(optimizer: str, known: Sequence[str]) -> str:
    """Return what to search instead of a form: the same rule where the framework has it."""
    base = optimizer.rpartition("-")[0]
    return f"search {base if base in known else ' or '.join(known)}"


def averages(framework: str, optimizer: str) -> SpecError:
    """Return the error for an optimizer whose average a framework would not ask for."""
    return refusal(
        framework, f"Schedule-Free, which {optimizer} is", f"search {optimizer.rpartition('-')[0]}"
    )


# Of this project; without, nothing is said.
_OFF = {"cautious": False, "cautious_factor": 0.0, "cautious_decay": False}


def on(optimizer: str, hyper: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments without switches that are off, where the optimizer has them off anyway.

    A script of another's does not know most of them.
    """
    default = defaults(optimizer)
    return {k: v for k, v in hyper.items() if v is not False or default.get(k) is not False}


def refuse_unsaid(
    framework: str, optimizer: str, hyper: Mapping[str, Any], said: Mapping[str, Any]
) -> None:
    """Refuse arguments that are not what the framework does anyway; raises SpecError.

    Args:
        framework: Its name, for the sentence.
        optimizer: Registry name.
        hyper: The arguments that no word has said.
        said: By name, the value that needs no words.
    """
    anyway = {**_OFF, **said}
    for name, value in hyper.items():
        if name not in anyway or value != anyway[name]:
            raise refusal(
                framework, f"{name}={value} of {optimizer}", f"fix it: --set space.{name}=VALUE"
            )


def refusal(framework: str, what: str, otherwise: str) -> SpecError:
    """Return the error for a setting that a framework cannot be told."""
    return SpecError(
        f"{framework} has no words for {what}; {otherwise}, or let the script build the optimizer "
        "from {json}"
    )
