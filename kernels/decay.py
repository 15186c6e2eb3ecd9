"""The applications of ``autotune.kernels.rules.decay``, under the name that plugins import."""

from __future__ import annotations

from autotune.kernels.rules.decay import DECOUPLED, DESCENT, PROXIMAL, proximal_step

__all__ = ["DECOUPLED", "DESCENT", "PROXIMAL", "proximal_step"]
