"""What is measured: our optimizers on their backends, and other people's.

Importing this loads none of them: first steps are measured from here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class Implementation(Protocol):
    """What makes an optimizer to be timed."""

    @property
    def name(self) -> str:
        """What results call it."""

    def build(self, params: Any) -> Any:
        """Return an optimizer for the parameters."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """One of our optimizers on one of its backends."""

    rule: str
    backend: str

    @property
    def name(self) -> str:
        """What it is called in results."""
        return f"{self.rule} {self.backend}"

    def build(self, params: list[Tensor]) -> Optimizer:
        """Return the optimizer for these parameters."""
        from autotune.optimizers import create

        return create(self.rule, params, backend=self.backend)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """An optimizer of another package, with that package's defaults but for ``hyper``.

    Attributes:
        name: What the command calls it.
        rule: Our optimizer that computes the same, or nearly so.
        package: What one installs to have it.
        cls: Where it is, as ``module:class``.
        hyper: Arguments beside the parameters.
        devices: Where it runs.
    """

    name: str
    rule: str
    package: str
    cls: str
    hyper: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu", "cuda")

    @property
    def installed(self) -> bool:
        """Whether its package can be found."""
        return find_spec(self.cls.partition(":")[0].partition(".")[0]) is not None

    def build(self, params: list[Tensor]) -> Optimizer:
        """Return the optimizer for these parameters."""
        module, _, name = self.cls.partition(":")
        optimizer: Optimizer = getattr(import_module(module), name)(params, **self.hyper)
        return optimizer


def _win(optimizer: str, cls: str, **hyper: Any) -> tuple[Peer, ...]:
    """Return the authors' class in both of its accelerated forms."""
    return tuple(
        Peer(
            name=f"authors-{optimizer}-{mode}",
            rule=f"{optimizer}-{mode}",
            package="github.com/sail-sg/win",
            cls=cls,
            hyper={"acceleration_mode": mode, **hyper},
        )
        for mode in ("win", "win2")
    )


_ADAN = "github.com/sail-sg/Adan"

PEERS: tuple[Peer, ...] = (
    Peer(
        name="authors-adan",
        rule="adan",
        package=_ADAN,
        cls="adan:Adan",
    ),
    Peer(
        name="authors-adan-single",
        rule="adan",
        package=_ADAN,
        cls="adan:Adan",
        hyper={"foreach": False},
    ),
    Peer(
        name="authors-adan-fused",
        rule="adan",
        package=f"{_ADAN} with its CUDA extension",
        cls="adan:Adan",
        hyper={"foreach": False, "fused": True},
        devices=("cuda",),
    ),
    Peer(name="optimi-adan", rule="adan", package="torch-optimi", cls="optimi:Adan",
         hyper={"lr": 1e-3}),
    Peer(
        name="pytorch-optimizer-adan",
        rule="adan",
        package="pytorch_optimizer",
        cls="pytorch_optimizer:Adan",
    ),
    Peer(name="timm-adan", rule="adan", package="timm", cls="timm.optim:Adan"),
    Peer(
        name="torch-adamw-fused",
        rule="adamw",
        package="torch",
        cls="torch.optim:AdamW",
        hyper={"fused": True},
    ),
    Peer(
        name="torch-adamw-foreach",
        rule="adamw",
        package="torch",
        cls="torch.optim:AdamW",
        hyper={"foreach": True},
    ),
    Peer(
        name="torch-adagrad-foreach",
        rule="adagrad",
        package="torch",
        cls="torch.optim:Adagrad",
        hyper={"foreach": True},
    ),
    Peer(
        name="torch-nadam-foreach",
        rule="nadamw-torch",
        package="torch",
        cls="torch.optim:NAdam",
        hyper={"foreach": True, "decoupled_weight_decay": True},
    ),
    Peer(
        name="torch-radam-foreach",
        rule="radam",
        package="torch",
        cls="torch.optim:RAdam",
        hyper={"foreach": True, "decoupled_weight_decay": True},
    ),
    Peer(name="lion-pytorch", rule="lion", package="lion-pytorch", cls="lion_pytorch:Lion"),
    *_win("adam", "adam_win:Adam_Win"),
    *_win("adamw", "adamw_win:AdamW_Win"),
    *_win("lamb", "lamb_win:Lamb_Win"),
    *_win("sgd", "sgd_win:SGD_Win", lr=1e-3),
)  # fmt: skip

OwnOrPeer = Own | Peer


def quiet() -> warnings.catch_warnings[None]:
    """Leave out what other packages warn of while they run."""
    return warnings.catch_warnings(action="ignore")
