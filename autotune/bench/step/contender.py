"""What is measured: one of our optimizers on one backend, or a peer."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from autotune.bench.step.peers import Peer

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.optim import Optimizer

    from autotune.bench.step.traffic import Traffic


class Stepper(Protocol):
    """Something to step, which has a name."""

    @property
    def name(self) -> str:
        """What results call it."""

    def build(self, params: Any) -> Any:
        """Return an optimizer for the parameters."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """One of our optimizers on one of its backends."""

    rule: str
    backend: str

    @property
    def name(self) -> str:
        """What it is called in results."""
        return f"{self.rule} {self.backend}"

    def build(self, params: list[Tensor]) -> Optimizer:
        """Return the optimizer for these parameters."""
        from autotune.optimizers import create

        return create(self.rule, params, backend=self.backend)


Contender = Own | Peer
_Kind_co = TypeVar("_Kind_co", bound=Contender, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Entrant(Generic[_Kind_co]):
    """A contender that was seen to step, and the traffic of its steps."""

    contender: _Kind_co
    traffic: Traffic


def probe(contender: Stepper, dtype: torch.dtype, device: str) -> Traffic:
    """Take a step with a small parameter and return the traffic of such steps."""
    import torch

    from autotune.bench.step import traffic as step_traffic

    p = torch.zeros(8, dtype=dtype, device=device, requires_grad=True)
    p.grad = torch.ones_like(p)
    with quiet():
        optimizer = contender.build([p])
        optimizer.step()
    return step_traffic.of(optimizer, p)


def quiet() -> warnings.catch_warnings[None]:
    """Leave out what other packages warn of while they run."""
    return warnings.catch_warnings(action="ignore")
