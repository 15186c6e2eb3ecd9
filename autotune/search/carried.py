"""What a job carries of its task: the arguments that make it again where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.studies.records import own_data
from autotune.studies.spec import SearchSpec
from autotune.tasks import precision
from autotune.tasks.base import LOOP
from autotune.tasks.command import ARGS


def task_arguments(spec: SearchSpec, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``autotune.tasks.resolve.resolve``: what a job carries.

    ``facts`` of the task say the kind of its device, if it is not the CPU, and what it computes in
    where that was asked for; on a CPU searches with ``resnet50`` once computed in bfloat16 unasked.
    """
    return {
        "model": spec.model,
        "data": spec.data,
        "steps": spec.steps,
        "batch_size": spec.batch_size,
        **({} if spec.image_size is None else {"image_size": spec.image_size}),
        **_command(spec, facts),
        **({"device": facts["device"]} if "device" in facts else {}),
        **({"precision": facts["precision"]} if _says_precision(spec, facts) else {}),
    }


def _command(spec: SearchSpec, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a job carries of a command; nothing of another task.

    One that was begun before ``{args}`` left anything out goes on as it began.
    """
    if spec.command is None:
        return {}
    whole = {"brief": False} if LOOP in facts and ARGS not in facts else {}
    return {"command": list(spec.command), "report": spec.report, "metric": spec.metric, **whole}


def _says_precision(spec: SearchSpec, facts: Mapping[str, Any]) -> bool:
    """Tell whether a job has to say what it computes in, as its task alone would not."""
    if "precision" not in facts or own_data(facts):
        return False
    if "device" not in facts:
        return bool(facts["precision"] != precision.SINGLE)
    kinds = [text.split()[0] for text in facts.get("mixed", ())]
    return spec.precision != precision.AUTO or len(set(kinds)) < len(kinds)
