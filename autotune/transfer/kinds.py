"""What an optimizer's class says of it, by the optimizer's name."""

from __future__ import annotations

from autotune.optimizers import foreign
from autotune.optimizers.registry import is_foreign, resolve
from autotune.transfer.base import Kind


def kind_of(optimizer: str) -> Kind:
    """Return what the class behind a name says; that of another package may say nothing.

    Raises:
        ValueError: There is no such optimizer.
        ImportError: Its package is not installed.
    """
    cls: type = foreign.find(optimizer) if is_foreign(optimizer) else resolve(optimizer)[0]
    return Kind(
        optimizer=optimizer,
        family=getattr(cls, "family", None),
        timescale=getattr(cls, "timescale", None),
    )
