"""What an optimizer's class says of it, by the optimizer's name."""

from __future__ import annotations

from autotune.optimizers.registry import resolve
from autotune.transfer.base import Kind


def kind_of(optimizer: str) -> Kind:
    """Return what the class behind a name says; raises ValueError for an unknown one."""
    cls, _ = resolve(optimizer)
    return Kind(
        optimizer=optimizer,
        family=getattr(cls, "family", None),
        decoupled=getattr(cls, "decoupled", None),
    )
