"""Check and start the engine that a spec names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.config import refuse_asked
from autotune.devices import CPU, Device
from autotune.engines import gpus
from autotune.engines.base import Engine
from autotune.errors import SpecError
from autotune.registry import load
from autotune.studies.spec import SearchSpec
from autotune.tasks.base import Task

PATIENT = "processes"  # the engine that ends a step which takes too long, and shares GPUs


def start(spec: SearchSpec, facts: Mapping[str, Any]) -> Engine:
    """Return the spec's engine, ready for jobs.

    ``facts`` of the task say the kind of its device, if it is not the CPU.
    """
    arguments = {"workers": spec.workers, **_own(spec)}
    device = Device(facts.get("device", CPU.kind))
    if spec.engine == PATIENT:
        # A command that runs alone may use all GPUs: how many it takes is the user's to say.
        whole = spec.command is not None and spec.workers == 1
        names = [] if whole else gpus.names(device)
        arguments |= {"gpus": names, "per_gpu": spec.per_gpu}
        if spec.per_gpu > 1 and not arguments["gpus"]:
            raise SpecError(
                f"per_gpu needs GPUs, but trials train on device {device}, got {spec.per_gpu}; "
                "leave it out: workers says how many run at the same time"
            )
    engine: Engine = load("autotune.engines", spec.engine)(**arguments)
    return engine


def notice(engine: Engine) -> str | None:
    """Return what an engine has to tell the user, if anything."""
    return getattr(engine, "notice", None)


def ready(spec: SearchSpec) -> None:
    """Refuse an engine that cannot run here, before anything is stored.

    The engine may have a static method ``ready`` for it, with the arguments of its constructor.
    """
    refuse_asked(spec)
    _refuse("step_timeout", spec, spec.step_timeout, "which can end a step")
    _refuse("per_gpu", spec, spec.per_gpu if spec.per_gpu > 1 else None, "whose workers share GPUs")
    check = getattr(load("autotune.engines", spec.engine), "ready", None)
    if check:
        check(workers=spec.workers, **_own(spec))


def check(engine: str, task: Task, optimizers: Sequence[str] = ()) -> None:
    """Refuse a task that an engine cannot train, and optimizers that it cannot train with.

    The engine may have static methods ``check`` and ``check_optimizer`` for it.
    """
    found = load("autotune.engines", engine)
    if refuse := getattr(found, "check", None):
        refuse(task)
    if refuse := getattr(found, "check_optimizer", None):
        for name in optimizers:
            refuse(name)


def _refuse(key: str, spec: SearchSpec, given: float | None, why: str) -> None:
    """Refuse a key that only the engine of processes heeds."""
    if given is not None and spec.engine != PATIENT:
        raise SpecError(
            f"{key} needs engine '{PATIENT}', {why}, got engine '{spec.engine}'; leave it "
            "out or change the engine"
        )


def _own(spec: SearchSpec) -> dict[str, Any]:
    """Return the settings of the spec's engine that no other has."""
    own = {"ray": spec.ray.model_dump(), PATIENT: {"step_timeout": spec.step_timeout}}
    return own.get(spec.engine, {})
