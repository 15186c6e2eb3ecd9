"""Where the trials of a search compute: all of them on one kind of device."""

from __future__ import annotations

from autotune import devices
from autotune.devices import AUTO, CPU, GPU, Device
from autotune.errors import SpecError
from autotune.studies.records import SearchRecord
from autotune.studies.spec import SearchSpec

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


def check_kind(search: SearchRecord, asked: str) -> None:
    """Refuse to join a search with another kind of device; raises SpecError."""
    kind = asked.partition(":")[0]
    if kind not in (AUTO, kind_of(search)):
        raise SpecError(
            f"search '{search.name}' computes on {kind_of(search)}, got device '{asked}': the "
            "losses of one search are of one kind of device; leave --device out"
        )


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
