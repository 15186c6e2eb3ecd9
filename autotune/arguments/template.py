"""The user's command with words for a setting: ``python train.py --lr {lr} {args:timm}``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune import registry
from autotune.arguments import forms, words
from autotune.arguments.parts import literal, on, rising, text
from autotune.errors import SpecError, UnknownName

WHOLE = ("args", "json", "yaml")  # words that say a whole setting
OTHERS = ("optimizer", "seed", "steps", "trial", "warmup", "warmup_steps")
PLAIN = "argparse"  # the form of {args}
_PARTS = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")


@dataclass(frozen=True, kw_only=True)
class Filling:
    """What the words of one trial stand for.

    Args:
        optimizer: Registry name.
        hyper: Its arguments.
        warmup: Fraction of the schedule in which the learning rate rises.
        steps: Length of the schedule.
        seed: Seed of the trial.
        trial: Name of the trial, fit for a file's name.
        json: File with all of this as JSON.
        yaml: The same as YAML.
        brief: Whether ``{args}`` leaves out switches that are off.
    """

    optimizer: str
    hyper: Mapping[str, Any]
    warmup: float
    steps: int
    seed: int
    trial: str
    json: str
    yaml: str
    brief: bool = True

    def words(self, name: str) -> list[str]:
        """Return what ``{name}`` stands for: one word, or several for ``{args}``."""
        word, _, form = name.partition(":")
        if word == "args":
            hyper = on(self.optimizer, self.hyper) if self.brief else self.hyper
            said = words(form or PLAIN, self.optimizer, hyper, self.warmup, self.steps)
            return said if form else [*said, "--seed", text(self.seed)]
        if name == "warmup_steps":
            return [text(rising(self.warmup, self.steps))]
        value = self.hyper[name] if name in self.hyper else getattr(self, name)
        return [value if isinstance(value, str) else literal(value)]


def check(command: Sequence[str], hyper: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse words that cannot be filled for every optimizer, and a command without any.

    Args:
        command: The words of the command.
        hyper: Each optimizer's arguments with their defaults.

    Raises:
        UnknownName: A word or a form does not exist.
        SpecError: A brace stands alone, a framework has no words for an optimizer, or nothing of
            the setting is said.
    """
    arguments = set().union(*hyper.values())
    known = {*WHOLE, *OTHERS, *arguments, *(f"args:{form}" for form in forms())}
    found = set(named(command))
    for name in sorted(found - known):
        raise UnknownName(registry.unknown("word of the command", name, known) + _DOUBLE)
    for name in sorted(found & arguments):
        for optimizer, own in hyper.items():
            if name not in own:
                raise SpecError(
                    f"{{{name}}} of the command is no argument of {optimizer}; use {{args}} or "
                    "{json}, or search its optimizers in a search of their own"
                )
    for name in sorted(found):
        word, _, form = name.partition(":")
        for optimizer, own in hyper.items() if word == "args" else ():
            words(form or PLAIN, optimizer, own, 0.0, 1)
    if not any(_says(name, arguments) for name in found):
        raise SpecError(
            "no word of the command says the setting, so all trials would be the same; add {args} "
            "for a script that uses argparse, or {json} for a file to read"
        )


_DOUBLE = "; a brace of your own is written twice: {{ or }}"


def _says(name: str, arguments: set[str]) -> bool:
    return name.partition(":")[0] in WHOLE or name in arguments


def unsaid(command: Sequence[str], varying: Iterable[str]) -> list[str]:
    """Return what of a setting varies between trials but is in no word of the command.

    Args:
        command: The words of the command.
        varying: Names of arguments, and ``warmup``.
    """
    found = set(named(command))
    if any(name.partition(":")[0] in WHOLE for name in found):
        return []
    if "warmup_steps" in found:
        found.add("warmup")
    return [name for name in varying if name not in found]


def named(command: Sequence[str]) -> Iterator[str]:
    """Yield the names in braces; raises SpecError for a brace that stands alone."""
    for word in command:
        for part in _PARTS.finditer(word):
            if part["name"] is not None:
                yield part["name"]
            elif len(part[0]) == 1:
                raise SpecError(f"the word '{word}' of the command has a single brace{_DOUBLE}")


def filled(command: Sequence[str], filling: Filling) -> list[str]:
    """Return the command of a trial.

    A word that is ``{args}`` becomes several; within a word, as in ``bash -c "train {args}"``, they
    are quoted as a shell reads them.

    Raises:
        SpecError: A framework has no words for the setting.
    """
    found: list[str] = []
    for word in command:
        whole = _PARTS.fullmatch(word)
        if whole and whole["name"] is not None:
            found += filling.words(whole["name"])
        else:
            found.append(_PARTS.sub(_within(filling), word))
    return found


def _within(filling: Filling) -> Callable[[re.Match[str]], str]:
    def put(part: re.Match[str]) -> str:
        if part["name"] is None:
            return part[0][0]
        said = filling.words(part["name"])
        return said[0] if len(said) == 1 else shlex.join(said)

    return put
