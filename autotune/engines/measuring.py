"""What may be measured of gradients while trials run: only where their steps are taken here."""

from __future__ import annotations

from autotune.errors import SpecError
from autotune.studies.names import BATCHED
from autotune.studies.spec import SearchSpec
from autotune.tasks.base import OwnLoop, Task, trains_itself
from autotune.tasks.precision import FP16


def check(spec: SearchSpec, task: Task | OwnLoop, engine: str) -> None:
    """Refuse to measure gradients that nobody sees, or whose other batches are not at hand.

    Args:
        spec: What is searched.
        task: Its task.
        engine: Where trials run.

    Raises:
        SpecError: It cannot be measured.
    """
    if spec.measuring and trains_itself(task):
        raise SpecError(
            f"{spec.measuring} needs a task whose steps are taken here, but model '{task.name}' is "
            "a loop of its own, whose gradients nobody sees; leave it out, or give a function that "
            "returns a Problem"
        )
    if spec.measuring and spec.precision == FP16:
        raise SpecError(
            f"{spec.measuring} needs gradients of every step, and precision 'fp16' leaves out "
            "those of steps that overflow; use precision bf16 or float32"
        )
    if spec.measure_noise and engine == BATCHED:
        raise SpecError(
            "measure_noise needs an engine that trains each run alone, got 'batched'; go on with "
            "it on the engine 'processes'"
        )
    if spec.measure_noise and task.batch_size is None:
        raise SpecError(
            f"measure_noise needs the samples of a batch, which model '{task.name}' does not tell; "
            "state it: Problem(batch_size=...)"
        )
