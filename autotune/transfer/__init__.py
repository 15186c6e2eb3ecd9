"""Carry a setting over from the runs that it was found in to a target: longer, larger, wider.

A rule is one module with a ``base.Rule`` named ``rule``, which an entry point in the group
``autotune.rules`` names. What an optimizer is, it reads from the optimizer's class.
"""

from __future__ import annotations

from autotune import registry

GROUP = "autotune.rules"
# The literature's; benchmarks/transfer.py shows no set to be better over all its targets.
DEFAULT = ("batch", "timescale", "warmup-share")


def rules() -> list[str]:
    """Return the names of the rules."""
    return registry.names(GROUP)
