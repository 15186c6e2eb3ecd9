"""Where the trials of a search compute: all of them on one kind of device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autotune import devices
from autotune.devices import AUTO, CPU, GPU, Device
from autotune.errors import SpecError
from autotune.optimizers.registry import second_order
from autotune.studies.records import SearchRecord
from autotune.studies.spec import SearchSpec
from autotune.tasks import precision
from autotune.tasks.base import Task
from autotune.tasks.resolve import in_precision

RAY = "ray"  # the engine whose trials compute on other machines than the one that asks


def device_of(spec: SearchSpec, stored: SearchRecord | None) -> Device:
    """Return where trials compute: where those of a stored search did, unless it is said.

    Raises:
        SpecError: It is not there.
    """
    if spec.engine == RAY and spec.device in (AUTO, GPU):
        return _on_ray(spec)
    if spec.device != AUTO or stored is None:
        return devices.resolve(spec.device)
    kind = kind_of(stored)
    try:
        return devices.resolve(kind)
    except SpecError as error:
        raise SpecError(f"search '{stored.name}' computes on {kind}: {error}") from None


def kind_of(search: SearchRecord) -> str:
    """Return the kind of device that a stored search computes on."""
    kind: str = search.task.get("device", CPU.kind)
    return kind


MIX = "--mixed lets it join, and every table of results then says so"
KINDS = ("device", "precision")  # facts of a task that say how its losses are computed


def check_kind(search: SearchRecord, asked: str, *, mixed: bool = False) -> None:
    """Refuse to join a search with another kind of device; raises SpecError."""
    kind = asked.partition(":")[0]
    if not mixed and kind not in (AUTO, kind_of(search)):
        raise SpecError(
            f"search '{search.name}' computes on {kind_of(search)}, got device '{asked}': the "
            f"losses of one search are of one kind of device; leave --device out, or {MIX}"
        )


def check_precision(search: SearchRecord, asked: str, *, mixed: bool = False) -> None:
    """Refuse to join a search in another precision; raises SpecError."""
    own = search.task.get("precision")
    if not mixed and asked != precision.AUTO and own is not None and own.split()[0] != asked:
        raise SpecError(
            f"search '{search.name}' computes in {own}, got precision '{asked}': the losses of one "
            f"search are of one precision; leave --precision out, or {MIX}"
        )


def computed(task: Task, spec: SearchSpec) -> Task:
    """Return a task in the precision that a spec asks for.

    Raises:
        SpecError: The task, its device or one of the optimizers does not compute in it.
    """
    found = in_precision(task, spec.precision)
    twice = [name for name in spec.optimizers if second_order(name)]
    if twice and spec.precision == precision.FP16:
        raise SpecError(
            f"precision 'fp16' scales losses, which {twice[0]} cannot undo in its second "
            "derivatives; use precision bf16 or float32, or leave it out"
        )
    return found


def computing(task: Mapping[str, Any]) -> str:
    """Return in words how the losses of a task are computed."""
    kind, precision = task.get("device", CPU.kind), task.get("precision")
    return f"{kind} in {precision}" if precision else str(kind)


def as_here(search: SearchRecord, facts: Mapping[str, Any]) -> SearchRecord:
    """Return a search with the kinds of device and precision of this process's trials."""
    others = {name: value for name, value in search.task.items() if name not in KINDS}
    own = {name: facts[name] for name in KINDS if name in facts}
    return search if {**others, **own} == search.task else replace(search, task={**others, **own})


def _on_ray(spec: SearchSpec) -> Device:
    """Return the device of trials on Ray, which shows them the GPUs that they ask for."""
    if spec.ray.gpus_per_trial:
        return Device(GPU)
    if spec.device == GPU:
        raise SpecError(
            f"device '{GPU}' with engine '{RAY}' needs gpus_per_trial: Ray shows a trial no other "
            "GPUs; give --gpus-per-trial 1, or a part of one"
        )
    return CPU
