"""Tests in other people's libraries; `make integrations` installs them, the gate has some."""

import os
from dataclasses import dataclass, field
from importlib.util import find_spec

import pytest

LIBRARIES = (
    "accelerate",
    "datasets",
    "hydra",
    "hydra_plugins",
    "keras",
    "lightning",
    "mlflow",
    "sweeps",
    "torchdata",
    "wandb",
)


def pytest_configure() -> None:
    """Let nothing be skipped where all libraries were to be installed."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if os.environ.get("INTEGRATIONS") and missing:
        pytest.exit(f"not installed: {', '.join(missing)}; run: make integrations", returncode=1)


@dataclass
class Plan:
    """A trial's plan: records what is reported, and answers False from a step on."""

    evaluate: tuple[int, ...] = (2, 6, 8)
    stop: int = 10**9
    told: list[tuple[int, float, float | None]] = field(default_factory=list)

    def report(self, step: int, loss: float, accuracy: float | None = None) -> bool:
        """Record a measurement."""
        self.told.append((step, loss, accuracy))
        return step < self.stop

    @property
    def steps(self) -> list[int]:
        """Steps that were reported."""
        return [step for step, *_ in self.told]


@pytest.fixture
def plan() -> type[Plan]:
    """Return the class of plans."""
    return Plan
