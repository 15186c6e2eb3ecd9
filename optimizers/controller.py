"""What all controllers share: splitting groups, gradients to compare, multipliers, saved state."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from autotune.kernels.triton import tables
from autotune.optimizers import averaging, check, gradients, sharded
from autotune.optimizers.base import Group, RuleOptimizer
from autotune.optimizers.parts import Parts
from autotune.optimizers.scalars import MULTIPLIER

_STATE = "controller"  # what an optimizer's state has of it

Grads = Mapping[Tensor, Tensor]


class Controller(ABC):
    """The base of controllers: it compares two gradients of each part of a model.

    Those are of two halves of a batch where ``half`` is called between them, else of two steps in a
    row. It measures at every ``interval``-th step. The groups of the optimizer are split by part,
    and its ``state_dict`` holds what the controller remembers.

    Attributes:
        description: One line for lists.
        options: Keyword arguments that a search may set, of which none needs the model.
        begins: Those of them that count steps from the beginning of a run, so that they move with
            the warm-up of a run of another length.
        decays: Those of them that say how much of an average a measurement keeps.
        steps: Steps that it has seen.
        multipliers: What the rates of each part are multiplied by, by name.
    """

    description: ClassVar[str] = ""
    options: ClassVar[tuple[str, ...]] = ("interval",)
    begins: ClassVar[tuple[str, ...]] = ()
    decays: ClassVar[tuple[str, ...]] = ()

    def __init__(self, optimizer: Optimizer, parts: Parts, interval: int) -> None:
        self._name = type(self).__name__
        _refuse(self._name, optimizer)
        if not check.count("interval", interval):
            raise ValueError("interval must be at least 1, got 0")
        self.optimizer: RuleOptimizer = optimizer  # type: ignore[assignment]  # as is checked
        self.interval, self.steps = int(interval), 0
        held = {id(p) for p in self.optimizer.parameters()}
        self.parts = {
            name: [p for p in own if id(p) in held]
            for name, own in parts.items()
            if any(id(p) in held for p in own)
        }
        self.multipliers = dict.fromkeys(self.parts, 1.0)
        self._kept: dict[Tensor, Tensor] = {}  # gradients of the step before
        self._half: dict[Tensor, Tensor] = {}  # of the first half of this step's batch
        self._halving = False  # whether ``half`` was ever called
        self._found: dict[str, Any] | None = None  # in a checkpoint that is being loaded
        self._attached = False

    def begin(self) -> None:
        """Split the optimizer's groups, and follow its checkpoints; the last act of building."""
        self._places = _split(self.optimizer, self.parts)
        self.optimizer.controller = self
        self.follow(self.optimizer)

    def follow(self, optimizer: RuleOptimizer) -> None:
        """Follow the checkpoints and steps of its optimizer, or of a copy that has lost its hooks.

        A copy may be made before this controller's own, so nothing of it is read here.
        """
        optimizer.register_state_dict_post_hook(self._into)
        optimizer.register_load_state_dict_pre_hook(self._out_of)
        optimizer.register_load_state_dict_post_hook(self._loaded)
        optimizer.register_step_pre_hook(self._before_step)

    @abstractmethod
    def measure(self, first: Grads, second: Grads, halves: bool) -> None:
        """Set ``multipliers`` by two gradients of the same parameters.

        Args:
            first: On one half of a batch, or of the step before.
            second: On the other half, or of this step.
            halves: Whether they are halves of a batch. Each is then the half's share of the
                gradient: half of the mean over its samples.
        """

    @abstractmethod
    def remembered(self) -> dict[str, Any]:
        """Return what else is to be saved, as plain data; ``recall`` takes it back."""

    @abstractmethod
    def recall(self, kept: Mapping[str, Any]) -> None:
        """Take what ``remembered`` has returned."""

    def written(self) -> Mapping[str, float]:
        """Return what is written into groups at this step."""
        return self.multipliers

    @torch.no_grad()
    def half(self) -> None:
        """Take the gradients so far for those of the first half of the batch.

        Call it between the two micro-batches of accumulated gradients, each loss halved. At steps
        that nothing is measured at, it does nothing.
        """
        self._halving = True
        self._kept = {}
        if self._due(self.steps):
            self._half = {p: g.clone() for p, g in self._gradients().items()}

    @torch.no_grad()
    def step(self) -> None:
        """Look at the gradients of a step, and write the multipliers that it takes.

        Call it when gradients are complete, before ``optimizer.step()``; those that are scaled by a
        GradScaler have to be unscaled first.

        Raises:
            RuntimeError: A CUDA graph or a compiler captures the step.
        """
        self._refuse_capture()
        due, ahead = self._due(self.steps), self._due(self.steps + 1) and not self._halving
        if due or ahead:
            self._compare(due, ahead)
        self._half = {}
        self._write()
        self.steps += 1

    def attach(self) -> None:
        """Let every step of the optimizer call ``step`` first, instead of the loop."""
        self._attached = True

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self._attached:
            return
        if any(value is not None for value in (*args[1:], *kwargs.values())):
            raise ValueError(
                f"{self._name} reads gradients before a step, which a closure computes inside it; "
                "compute them before, and call step() without one"
            )
        self.step()

    def _due(self, step: int) -> bool:
        return step % self.interval == 0

    def _compare(self, due: bool, ahead: bool) -> None:
        grads = self._gradients()
        first = self._half or self._kept
        if due and first:
            second = {p: g - self._half[p] for p, g in grads.items() if p in self._half}
            self.measure(first, second or grads, bool(second))
        self._kept = {p: g.clone() for p, g in grads.items()} if ahead else {}

    def _gradients(self) -> dict[Tensor, Tensor]:
        """Return the gradients of controlled parameters, without the scale of a GradScaler."""
        found = {}
        name = type(self.optimizer).__name__
        scale = getattr(self.optimizer, "grad_scale", None)
        for own in self.parts.values():
            for p, g in gradients.checked(name, own, None):
                found[p] = g.detach() if scale is None else g.detach() / scale.to(g.device)
        return found

    def _write(self) -> None:
        for name, value in self.written().items():
            for n in self._places[name]:
                group = self.optimizer.param_groups[n]
                held = group.get(MULTIPLIER)
                if isinstance(held, Tensor):
                    held.fill_(value)
                else:
                    group[MULTIPLIER] = value

    def _refuse_capture(self) -> None:
        home = self.optimizer.tensors[0].device
        if torch.compiler.is_compiling() or tables.capturing(home):
            raise RuntimeError(
                f"{self._name} reads gradients on the host at every step, which neither a compiler "
                "nor a CUDA graph can repeat; step outside of them, or train without a controller"
            )

    def _into(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        order = {p: i for i, p in enumerate(self.optimizer.parameters())}
        state[_STATE] = {
            "name": self._name,
            "steps": self.steps,
            "multipliers": dict(self.multipliers),
            "kept": {order[p]: g for p, g in self._kept.items()},
            "halving": self._halving,
            **self.remembered(),
        }

    def _out_of(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        found = state.get(_STATE)
        known = found and found["name"] == self._name and found["multipliers"].keys()
        if not known == self.multipliers.keys():
            raise ValueError(
                f"the checkpoint must hold the state of {self._name} for "
                f"{', '.join(self.multipliers)}, got {_told(found)}; load it where it was saved, "
                "or build the optimizer as it was then"
            )
        self._found = found

    def _loaded(self, optimizer: Optimizer) -> None:
        found, self._found = self._found, None
        if found is None:
            return
        params = self.optimizer.parameters()
        self.steps, self._halving = int(found["steps"]), bool(found["halving"])
        self.multipliers = dict(found["multipliers"])
        self._half = {}
        self._kept = {params[i]: g.to(params[i].device) for i, g in found["kept"].items()}
        self.recall(found)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}: {value:.3g}" for name, value in self.multipliers.items())
        return f"{self._name}({told})"


def _told(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "none"
    return f"that of {found['name']} for {', '.join(found['multipliers'])}"


def _refuse(name: str, optimizer: Any) -> None:
    """Refuse an optimizer whose groups it cannot control."""
    kind = type(optimizer).__name__
    if not isinstance(optimizer, RuleOptimizer):
        raise ValueError(
            f"{name} writes multipliers of groups, which rules of this package alone read, got "
            f"{kind}; use one of them"
        )
    if optimizer.layerwise:
        raise ValueError(
            f"{name} sets rates by layer, as {kind} does itself by the norms of tensors; use one "
            "of the two"
        )
    for group in optimizer.param_groups:
        _refuse_group(name, kind, group)
    params = optimizer.parameters()
    if any(map(sharded.is_sharded, params)) or sharded.pieces(params):
        raise ValueError(f"{name} needs whole gradients, got those of pieces; train unsharded")


def _refuse_group(name: str, kind: str, group: Group) -> None:
    if group["acceleration"] == averaging.NAME:
        raise ValueError(
            f"{name} changes rates, and {kind} with acceleration '{averaging.NAME}' averages steps "
            "of one rate; leave one of them out"
        )
    if "initial_lr" in group:
        raise ValueError(
            f"{name} splits groups, whose rates a schedule has noted already; make the schedule "
            "after it"
        )
    if MULTIPLIER in group:
        raise ValueError(
            f"{name} writes the multiplier of groups, and a group has one already; leave one out"
        )


def _split(optimizer: RuleOptimizer, parts: Parts) -> dict[str, list[int]]:
    """Split groups so that none has parameters of two parts; return the places of each part's."""
    owner = {id(p): name for name, own in parts.items() for p in own}
    groups: list[Group] = []
    places: dict[str, list[int]] = {name: [] for name in parts}
    for group in optimizer.param_groups:
        owners = [owner.get(id(p)) for p in group["params"]]
        for name in dict.fromkeys(owners or [None]):
            if name is not None:
                places[name].append(len(groups))
            groups.append(_part(group, [each == name for each in owners]))
    optimizer.param_groups[:] = groups
    optimizer.tensors = optimizer.parameters()
    return places


def _part(group: Group, taken: Sequence[bool]) -> Group:
    """Return a group with some of the parameters, and counters of its own."""
    # The rate stays one tensor where it is one: whoever fills it means all.
    own = {k: v.clone() if isinstance(v, Tensor) and k != "lr" else v for k, v in group.items()}
    for key in ("params", "param_names"):
        if key in group:
            own[key] = [each for each, kept in zip(group[key], taken, strict=True) if kept]
    return own


def finite(values: Sequence[float]) -> bool:
    """Tell whether all numbers are: gradients that overflowed say nothing."""
    return all(map(math.isfinite, values))
