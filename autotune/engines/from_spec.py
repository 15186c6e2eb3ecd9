"""Check and start what a spec names as the place where its trials run."""

from __future__ import annotations

from typing import Any

from autotune.engines.base import Backend
from autotune.registry import load
from autotune.studies.spec import SearchSpec
from autotune.tasks.base import Task


def start(spec: SearchSpec) -> Backend:
    """Return the spec's backend, ready for jobs."""
    backend: Backend = load("autotune.engines", spec.engine)(**_arguments(spec))
    return backend


def ready(spec: SearchSpec) -> None:
    """Refuse an engine that cannot run here, before anything is stored.

    It may have a static method ``ready`` for that, which takes what its constructor does.
    """
    check = getattr(load("autotune.engines", spec.engine), "ready", None)
    if check:
        check(**_arguments(spec))


def check(engine: str, task: Task) -> None:
    """Refuse a task that an engine cannot train."""
    refuse = getattr(load("autotune.engines", engine), "check", None)
    if refuse:
        refuse(task)


def _arguments(spec: SearchSpec) -> dict[str, Any]:
    own = {"ray": spec.ray.model_dump()}  # settings of one engine, under its name
    return {"workers": spec.workers, **own.get(spec.engine, {})}
