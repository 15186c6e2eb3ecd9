"""lr by the width, as muP has it for the hidden matrices of Adam.

Every parameter has one lr here, so what muP leaves at its rate (embeddings, biases, norms) learns
more slowly than it asks for, and initialisation and output scale stay the model's own.
"""

from __future__ import annotations

from autotune.studies.setting import Setting
from autotune.transfer.base import ADAPTIVE, Kind, Route, Rule


def _restate(found: Setting, now: Setting, route: Route, kind: Kind) -> dict[str, float]:
    return {} if route.width == 1 else {"lr": now.hyper["lr"] / route.width}


def _refuse(kind: Kind, setting: Setting) -> str | None:
    return None if kind.family == ADAPTIVE else "it is muP's rule for Adam and its relatives"


rule = Rule(
    source="Yang et al. 2022 (arXiv:2203.03466), table 8",
    answers="lr for the width",
    follows="width",
    restate=_restate,
    refuse=_refuse,
)
