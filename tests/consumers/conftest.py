"""Exports in trainers that need torchvision or other heavy packages; `.ci/consumers` runs them."""

import contextlib
import importlib
import os
import warnings
from importlib.util import find_spec

import pytest
import torch

LIBRARIES = ("accelerate", "hydra", "lightning", "mmengine", "open_clip_train", "optax", "timm")


def pytest_configure() -> None:
    """Let nothing be skipped where all libraries were to be installed."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if os.environ.get("CONSUMERS") and missing:
        pytest.exit(f"not installed: {', '.join(missing)}; run: .ci/consumers", returncode=1)
    if find_spec("torchvision") and not torch.version.cuda:
        declare_operators()
    with warnings.catch_warnings(action="ignore"):  # they warn of today's torch when imported
        for name in ("mmengine.optim", "open_clip_train.main", "torchtitan.components.optimizer"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def declare_operators() -> None:
    """Declare operators of torchvision, whose wheel for CUDA does not load beside a CPU torch.

    It cannot be imported without them. Nothing here calls them.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    declared.append(library)  # they go with it


declared: list[torch.library.Library] = []
