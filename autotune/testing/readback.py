"""What a consumer of an export built, parameter by parameter, and the rates it trains at."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autotune import optimizers
from autotune.results.tuned import Tuned
from autotune.testing.exports import tuned_for_test
from autotune.training.building import optimizer_of
from autotune.training.lr_schedule import multiplier, schedule

STEPS = 20
COMPARED = ("lr", "betas", "eps", "weight_decay")
HYPERS: Mapping[str, Mapping[str, Any]] = {
    "adamw": {"lr": 3e-3, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.04},
    "adan": {"lr": 3e-3, "betas": (0.97, 0.91, 0.985), "eps": 1e-8, "weight_decay": 0.04},
    "adan-win2": {"lr": 3e-3, "betas": (0.97, 0.91, 0.985), "eps": 1e-7, "weight_decay": 0.04},
}


class Probe(nn.Module):
    """A bias, a norm, a layer scale, an embedding and a class token."""

    def __init__(self) -> None:
        super().__init__()
        seeded = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(8, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.ls = nn.Parameter(torch.full((4,), 0.5))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)
        for parameter in self.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=seeded)

    def forward(self, ids: Tensor) -> Tensor:
        """Return two logits for each row of ids, which has a column for each of its words."""
        found: Tensor = self.head(self.norm(self.embedding(ids).mean(1) * self.ls + self.token[0]))
        return found


def record(optimizer: str, *, epochs_of: int | None = None, **changes: Any) -> Tuned:
    """Return a record of a run of 20 steps with 4 of warm-up.

    Args:
        optimizer: One of ``HYPERS``.
        epochs_of: Steps of an epoch, as a target in epochs records them.
        changes: Arguments of the optimizer that are to be others.
    """
    good = tuned_for_test()
    return replace(
        good,
        optimizer=optimizer,
        hyper={**HYPERS[optimizer], "max_grad_norm": 0.0, **changes},
        schedule=replace(good.schedule, warmup_fraction=0.2),
        tuned_on={**good.tuned_on, "steps": STEPS},
        target={} if epochs_of is None else {"steps": STEPS, "steps_per_epoch": epochs_of},
    )


def per_parameter(model: nn.Module, built: Iterable[Optimizer]) -> dict[str, dict[str, Any]]:
    """Return what each parameter of a model is trained with: the class, and what is compared.

    ``lr`` is the peak, which a schedule keeps as ``initial_lr``.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, dict[str, Any]] = {}
    for optimizer in built:
        for group in optimizer.param_groups:
            said = {key: _plain(group[key]) for key in COMPARED if key in group}
            said["lr"] = group.get("initial_lr", group["lr"])
            said |= {"class": type(optimizer).__name__}
            said |= {"win": group.get("acceleration", "none")}
            found |= {names[id(parameter)]: dict(said) for parameter in group["params"]}
    return dict(sorted(found.items()))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, tuple | list) else value


def expected(tuned: Tuned, model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return what each parameter of a model was to be trained with."""
    return per_parameter(model, [optimizers.build(tuned.optimizer, model, tuned.hyper)])


def same(built: Mapping[str, Any], right: Mapping[str, Any]) -> None:
    """Fail unless each parameter is trained with what it was to be; names those that are not."""
    apart = {n: (built.get(n), right.get(n)) for n in {*built, *right}}
    wrong = {name: pair for name, pair in sorted(apart.items()) if pair[0] != pair[1]}
    if wrong:
        raise AssertionError(f"{', '.join(wrong)} differ; got and wanted: {wrong}")


def rates(optimizer: Optimizer, advance: Callable[[int], Any], steps: int = STEPS) -> list[float]:
    """Return the rate of each step, of the first group.

    Args:
        optimizer: Whose gradients stay zero.
        advance: Called after each step, with the steps that were made.
        steps: How many.
    """
    found = []
    for step in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        advance(step + 1)
    return found


def wanted(tuned: Tuned, steps: int = STEPS) -> list[float]:
    """Return the rate of each step of the search's own loop."""
    peak, table = float(tuned.hyper["lr"]), tuned.schedule.table
    return [peak * multiplier(step, steps, tuned.warmup, table=table) for step in range(steps)]


def walk(model: nn.Module, optimizer: Optimizer, steps: Iterable[int]) -> None:
    """Train a probe on batches of the step alone; our optimizers by PyTorch, to compile nothing."""
    for group in optimizer.param_groups:
        group.update({"backend": "torch"} if "backend" in group else {})
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(8, (6, 3), generator=generator)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(ids), ids.sum(1) % 2)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def followed(
    model: nn.Module, tuned: Tuned, losses: Iterable[Callable[[nn.Module], Tensor]]
) -> list[float]:
    """Train a model in the search's own way; return the rate of each step.

    Args:
        model: Trained in place.
        tuned: Its optimizer, groups and schedule are built as a search builds them.
        losses: The loss of each step, of the model.
    """
    optimizer = optimizer_of(model, tuned.optimizer, tuned.hyper)
    follow = schedule(optimizer, STEPS, tuned.warmup)
    found = []
    for group in optimizer.param_groups:
        group["backend"] = "torch"  # nothing is compiled
    for loss in losses:
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.zero_grad()
        loss(model).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        follow.step()
    return found


def apart(one: nn.Module, other: nn.Module, begun: nn.Module) -> float:
    """Return how far two trained models are apart, as a part of the way that one has gone."""
    way = (weights(one) - weights(begun)).norm()
    return float((weights(one) - weights(other)).norm() / way)


def weights(model: nn.Module) -> Tensor:
    """Return all parameters of a model as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def resumed(build: Callable[[nn.Module], Optimizer]) -> tuple[Tensor, Tensor]:
    """Return the weights after three steps, without and with a checkpoint after two.

    The checkpoint is loaded with ``weights_only=True``.

    Args:
        build: Makes the optimizer of a model.
    """
    whole, part, later = Probe(), Probe(), Probe()
    walk(whole, build(whole), range(3))
    first = build(part)
    walk(part, first, range(2))
    file = io.BytesIO()
    torch.save({"model": part.state_dict(), "optimizer": first.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second = build(later)
    later.load_state_dict(state["model"])
    second.load_state_dict(state["optimizer"])
    walk(later, second, [2])
    return weights(whole), weights(later)


def close(actual: Iterable[float], wanted: Iterable[float], tolerance: float = 1e-9) -> None:
    """Fail unless two traces agree, each number to a fraction of itself."""
    got, right = list(actual), list(wanted)
    if len(got) != len(right):
        raise AssertionError(f"{len(right)} steps are wanted, got {len(got)}")
    pairs = list(zip(got, right, strict=True))
    apart = [n for n, (a, b) in enumerate(pairs) if abs(a - b) > tolerance * max(abs(b), 1e-12)]
    if apart:
        raise AssertionError(f"the rates differ at steps {apart}: {[pairs[n] for n in apart[:3]]}")


def faults(tuned: Tuned) -> Iterator[tuple[str, Tuned]]:
    """Yield records as a faulty renderer would have written them, with the fault's name.

    A renderer writes numbers of the record: one that writes another record's is that fault.
    """
    betas = tuple(1 - beta for beta in tuned.hyper["betas"])
    yield "betas as one minus", replace(tuned, hyper={**tuned.hyper, "betas": betas})
    later = replace(tuned.schedule, warmup_fraction=tuned.warmup + 1 / STEPS)
    yield "warm-up off by one", replace(tuned, schedule=later)
    fewer = {"steps": STEPS // 5}
    yield (
        "epochs for steps",
        replace(
            tuned,
            tuned_on={**tuned.tuned_on, **fewer},
            target={**tuned.target, **fewer} if tuned.target else {},
        ),
    )
