"""Write a Python file that builds the tuned optimizer and its schedule; for a training script."""

from __future__ import annotations

from string import Template

from autotune.export.header import lines
from autotune.export.python import docstring, entries, literal, rising
from autotune.export.run import looks_ahead
from autotune.optimizers.registry import names, second_order
from autotune.results.tuned import Tuned

tables = True  # a schedule may be one
suffix = ".py"

_FILE = Template('''\
"""$provenance

Use it in training:

    optimizer = build(model)
    scheduler = schedule(optimizer, steps)
    for batch in batches:
        $backward
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
$measuring"""

from __future__ import annotations

${math}from typing import Any

from autotune import optimizers
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

OPTIMIZER = $optimizer
HYPER: dict[str, Any] = {
$hyper
}
$rising


def build(model: nn.Module) -> Optimizer:
    """Build the optimizer; parameters with ndim <= 1 are not decayed.

    If it has eval() and train(), call them around each measurement.
    """
    return optimizers.build(OPTIMIZER, model, HYPER)


def schedule(optimizer: Optimizer, steps: int) -> LambdaLR:
    """Build the schedule over ``steps`` steps: $shape."""
    return LambdaLR(optimizer, lambda step: multiplier(step, steps))


def multiplier(step: int, steps: int) -> float:
    """Return what lr is multiplied by at ``step``, counted from 0."""
$factor
''')
_RISING = """\
    rising = round(WARMUP * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
"""
_FACTOR = {
    "cosine": f"""\
{_RISING}    falling = max(1, steps - rising)
    return 0.5 * (1 + math.cos(math.pi * min(step - rising, falling) / falling))""",
    "constant": f"{_RISING}    return 1.0",
    "table": """\
    place = min(step / max(1, steps - 1), 1.0) * (len(TABLE) - 1)
    below = min(int(place), len(TABLE) - 2)
    part = place - below
    return (1 - part) * TABLE[below] + part * TABLE[below + 1]""",
}
_SHAPES = {
    "cosine": "linear warm-up, then cosine",
    "constant": "linear warm-up, then constant",
    "table": "the table, linear between its values",
}
_MEASURING = """    optimizer.eval()  # the {} is in the model, to measure or save it
    optimizer.train()  # back to where gradients are taken, before training goes on
"""


def render(tuned: Tuned) -> str:
    """Write a module with ``build(model)`` and ``schedule(optimizer, steps)``."""
    kind = tuned.schedule.type
    return _FILE.substitute(
        provenance=docstring(lines(tuned)),
        backward=_backward(tuned.optimizer),
        optimizer=literal(tuned.optimizer),
        hyper=entries(tuned.hyper),
        rising=rising(tuned),
        shape=_SHAPES[kind],
        factor=_FACTOR[kind],
        measuring=_measuring(tuned),
        math="import math\n" if kind == "cosine" else "",
    )


def _measuring(tuned: Tuned) -> str:
    """Return how weights are measured that are others than those that gradients are taken at."""
    if looks_ahead(tuned):
        return _MEASURING.format("point without the look-ahead")
    return _MEASURING.format("average") if tuned.schedule.type == "constant" else ""


def _backward(optimizer: str) -> str:
    """Return how gradients are computed: some optimizers differentiate them once more."""
    if optimizer in names() and second_order(optimizer):
        return "optimizer.backward(loss(model, batch))"
    return "loss(model, batch).backward()"
