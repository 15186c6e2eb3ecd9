"""What a rule is told, and what it says: one value of a setting, restated for a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autotune.studies.setting import Setting

ADAPTIVE, SIGN, SGD = "adaptive", "sign", "sgd"  # families that optimizers say they are of


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the class of an optimizer says of it.

    Args:
        optimizer: Its name.
        family: How its update follows the size of the gradient; None where the class does not say.
        timescale: Whether a step shrinks parameters by lr * weight_decay of them; None likewise.
    """

    optimizer: str
    family: str | None
    timescale: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """From the runs that a setting was found in to the run that it is for.

    Args:
        batch: Samples of a batch, there and here; None where they are not known.
        steps: Steps of a run, likewise.
        width: Hidden units here for each there.
        noise_scale: Samples of a batch beyond which a larger one brings no larger lr; None: not
            known.
    """

    batch: tuple[int, int] | None = None
    steps: tuple[int, int] | None = None
    width: float = 1.0
    noise_scale: float | None = None

    @property
    def batch_ratio(self) -> float:
        """Samples of a batch here for each there."""
        return self.batch[1] / self.batch[0] if self.batch else 1.0

    @property
    def steps_ratio(self) -> float:
        """Steps here for each there."""
        return self.steps[1] / self.steps[0] if self.steps else 1.0

    @property
    def kept(self) -> frozenset[str]:
        """What the target has as the searched runs had it, of batch, steps and width."""
        ratios = {"batch": self.batch_ratio, "steps": self.steps_ratio, "width": self.width}
        return frozenset(name for name, ratio in ratios.items() if ratio == 1)

    @property
    def noise_ratio(self) -> float:
        """The ratio of the batches as far as noise dominates them: both end at the noise scale."""
        if self.batch is None or self.noise_scale is None:
            return self.batch_ratio
        there, here = (min(size, self.noise_scale) for size in self.batch)
        return here / there


# The setting as it was found and as other rules have left it, the route and the optimizer, to the
# new values by name: of arguments of the optimizer, or "warmup".
Restate = Callable[[Setting, Setting, Route, Kind], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Args:
        source: Who found it, and where.
        answers: The question that it answers; two answers to one question contradict each other.
        restate: Returns the new values, none where the route asks for no change.
        refuse: Returns why it does not apply to an optimizer, or None.
        doubt: Returns why it may not apply, or None: it is then left out unless it was named.
        follows: What the target has another of, else the rule says nothing: "batch", "steps" or
            "width"; empty where it may say something for any target.
        reads_lr: Whether it follows lr, so that rules which change lr come first.
    """

    source: str
    answers: str
    restate: Restate
    refuse: Callable[[Kind, Setting], str | None] = lambda kind, setting: None
    doubt: Callable[[Kind], str | None] = lambda kind: None
    follows: str = ""
    reads_lr: bool = False


@dataclass(frozen=True, kw_only=True)
class Change:
    """A value that a rule restated, perhaps to what it was.

    Args:
        name: Of the argument, or "warmup".
        old: What was found.
        new: What the target gets.
        rule: Name of the rule.
        source: Who found the rule, and where.
    """

    name: str
    old: Any
    new: Any
    rule: str
    source: str
