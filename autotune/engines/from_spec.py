"""Check and start the engine that a spec names."""

from __future__ import annotations

from typing import Any

from autotune.engines.base import Engine
from autotune.errors import SpecError
from autotune.registry import load
from autotune.studies.spec import SearchSpec
from autotune.tasks.base import Task

PATIENT = "processes"  # the engine that ends a step which takes too long


def start(spec: SearchSpec) -> Engine:
    """Return the spec's engine, ready for jobs."""
    engine: Engine = load("autotune.engines", spec.engine)(**_arguments(spec))
    return engine


def ready(spec: SearchSpec) -> None:
    """Refuse an engine that cannot run here, before anything is stored.

    The engine may have a static method ``ready`` for it, with the arguments of its constructor.
    """
    if spec.step_timeout is not None and spec.engine != PATIENT:
        raise SpecError(
            f"step_timeout needs engine '{PATIENT}', which can end a step, got engine "
            f"'{spec.engine}'; leave it out or change the engine"
        )
    check = getattr(load("autotune.engines", spec.engine), "ready", None)
    if check:
        check(**_arguments(spec))


def check(engine: str, task: Task) -> None:
    """Refuse a task that an engine cannot train."""
    refuse = getattr(load("autotune.engines", engine), "check", None)
    if refuse:
        refuse(task)


def _arguments(spec: SearchSpec) -> dict[str, Any]:
    # Settings of one engine, by its name.
    own = {
        "ray": spec.ray.model_dump(),
        PATIENT: {"step_timeout": spec.step_timeout},
    }
    return {"workers": spec.workers, **own.get(spec.engine, {})}
