"""Objects that a configuration names by their dotted paths: Hydra's words, and Lightning's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEDULE = "autotune.integrations.schedule.WarmupCosine"


def hydra(path: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``hydra.utils.instantiate`` makes a function of, which takes what is missing.

    ``_convert_: all`` gives plain lists: Hydra's own would end in checkpoints, which then cannot
    be loaded with ``weights_only=True``.
    """
    return {"_target_": path, "_partial_": True, "_convert_": "all", **_plain(arguments)}


def jsonargparse(path: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what LightningCLI instantiates."""
    return {"class_path": path, "init_args": _plain(arguments)}


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}
