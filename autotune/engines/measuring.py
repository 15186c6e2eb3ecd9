"""What may be measured of gradients while trials run: only where their steps are taken here."""

from __future__ import annotations

from autotune.errors import SpecError
from autotune.studies.spec import SearchSpec
from autotune.tasks.base import OwnLoop, Task, trains_itself


def check(spec: SearchSpec, task: Task | OwnLoop) -> None:
    """Refuse to measure gradients of a training that takes its steps itself."""
    if spec.record_norms and trains_itself(task):
        raise SpecError(
            f"record_norms needs a task whose steps are taken here, but model '{task.name}' is a "
            "loop of its own, whose gradients nobody sees; leave it out, or give a function that "
            "returns a Problem"
        )
