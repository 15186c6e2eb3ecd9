"""Carry a setting over from the runs that it was found in to a target: longer, larger, wider.

A rule is one module with a ``base.Rule`` named ``rule``, which an entry point in the group
``autotune.rules`` names. What an optimizer is, it reads from the optimizer's class.
"""

from __future__ import annotations

from autotune import registry

GROUP = "autotune.rules"
LITERATURE = ("batch", "timescale", "warmup-share")
# Measured best of those that benchmarks/transfer.py shows to be better than the literature's.
DEFAULT = ("warmup-share",)


def rules() -> list[str]:
    """Return the names of the rules."""
    return registry.names(GROUP)
