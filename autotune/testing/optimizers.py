"""What every registered optimizer must do; a plugin subclasses the contract in its own tests."""

from __future__ import annotations

import copy
import io
import math
import os
import pickle
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from autotune.optimizers.registry import (
    create,
    defaults,
    names,
    presets,
    resolve,
    schedule,
    second_order,
    space,
    stacks,
)
from autotune.testing.backends import BACKENDS, usable
from autotune.testing.expect import expect
from autotune.testing.trajectories import Trajectory, curved, drawn, final

SHAPES = [(1,), (7,), (), (0,), (3, 5), (2, 3, 1, 2)]

_IN_EVERY_FORM = ("adam", "adamw", "adan", "lamb", "sgd")
_AVERAGED = ("adamw-sf", "sgd-sf")  # of Schedule-Free; the first also in kernels
_FORM = ("acceleration", "gradient_filter")  # which a name says
_NOT_UNDER_WIN = ("decay", "cautious_decay")
_LATE = ("radam-sf",)  # takes no step before its fifth, which suites would wait for
_REPRESENTATIVE = ("lars", "stableadamw", "nadamw-torch")  # of ways through a kernel


def under_test() -> list[str]:
    """Return the registered names that tests over all optimizers run with, sorted.

    The oldest optimizers come plain and with Win, two with Schedule-Free, all others plain: an
    application or a filter is the same code for each of them. With
    ``AUTOTUNE_TEST_EVERY=1`` in the environment, every name that steps at once. One that multiplies
    matrices besides, and steps no vector, has tests of its own.
    """
    known = [name for name in names() if name not in _LATE]
    plain = [name for name in known if resolve(name)[1] == "none"]
    found = [name for name in known if _in_every_form(name) or name in (*plain, *_AVERAGED)]
    return list(filter(stacks, found))


def of_second_order() -> list[str]:
    """Return the names of optimizers that differentiate gradients once more, in their plain form.

    They are not in ``under_test()``: a step along any tensor is refused.
    """
    return [name for name in names() if second_order(name) and resolve(name)[1] == "none"]


def in_kernels() -> list[str]:
    """Return those of ``under_test()`` to run where rules are compiled or interpreted: it is slow.

    ``OptimizerContract`` compares the kernels of all the others with torch.
    """
    some = (*_REPRESENTATIVE, _AVERAGED[0])
    return [name for name in under_test() if _in_every_form(name) or name in some]


def runs() -> list[tuple[str, str]]:
    """Return the pairs of a name and a backend that tests over both run with."""
    kernels = [(name, backend) for backend in BACKENDS[1:] for name in in_kernels()]
    return [*((name, "torch") for name in under_test()), *kernels]


def _in_every_form(name: str) -> bool:
    every = os.environ.get("AUTOTUNE_TEST_EVERY") == "1"
    cls, mode = resolve(name)
    oldest = cls in [resolve(root)[0] for root in _IN_EVERY_FORM]
    return every or (oldest and mode in ("none", "win", "win2"))


class OptimizerContract:
    """Tests of one optimizer; a subclass gives the fixture ``name``, or sets ``names``.

    Attributes:
        others: A value of each hyper-parameter that is not its default.
        setting: Where every hyper-parameter matters.
        apart: Changes to that setting under which another hyper-parameter matters.
    """

    others: ClassVar[dict[str, Any]] = {
        "lr": 0.07,
        "eps": 0.3,
        "weight_decay": 0.4,
        "momentum_decay": 3.0,
        "alpha": 4.0,
        "alpha_warmup": 3,
        "beta3_warmup": 3,
        "momentum": 0.5,
        "trust_coeff": 0.3,
        "clamp": 0.5,
        "cautious_factor": 0.5,
        "dampening": 0.5,
        "reckless_steps": (3.0, 5.0),
        "max_grad_norm": 7.0,
        "lr_decay": 0.5,
        "initial_accumulator_value": 0.4,
        "accumulate": "rows",
        "clip_exponent": 0.0,
        "hessian_power": 0.5,
        "block_sizes": (1, 0, 1, 1),
        "mars_gamma": 0.2,
        "grokfast_alpha": 0.5,
        "grokfast_lamb": 1.0,
        "lookahead_stepsize": 0.9,
        "lookahead_ema": 0.5,
        "r": 1.5,
        "weight_lr_power": 0.5,
    }
    setting: ClassVar[dict[str, Any]] = {"lr": 0.1, "weight_decay": 0.2, "max_grad_norm": 0.7}
    apart: ClassVar[dict[str, dict[str, Any]]] = {
        "always_adapt": {"weight_decay": 0.0},
        "amsgrad": {"rectify": False},
        "accumulate": {"max_grad_norm": 0.0},
        "momentum": {"accumulate": "rows", "max_grad_norm": 0.0},
        "cautious_factor": {"cautious": True},
    }

    def run(self, name: str, **hyper: Any) -> Trajectory:
        """Draw a trajectory of this optimizer; one that averages may begin after some steps."""
        steps = 4 if schedule(name) == "cosine" else 8
        return drawn(name, {**self.setting, **hyper}, SHAPES, steps=steps, seed=3)

    @pytest.mark.parametrize("backend", BACKENDS[1:])
    def test_a_backend_follows_the_rule_in_double_precision(self, name: str, backend: str) -> None:
        """Compare float32 over tables of addresses with float64 over torch."""
        expected = final(self.run(name), dtype=torch.float64, backend="torch")
        with usable(backend):
            actual = final(self.run(name), dtype=torch.float32, backend=backend)
        for a, e in zip(actual, expected, strict=True):
            torch.testing.assert_close(a.double(), e, rtol=2e-5, atol=2e-6)

    def test_every_hyper_parameter_matters(self, name: str) -> None:
        """Change one after another; the parameters must end elsewhere."""
        given = defaults(name)
        for key, default in given.items():
            mode = given.get("acceleration", "none")
            if key in _FORM or key in resolve(name)[0].needs.get(mode, {}):
                continue
            if key in _NOT_UNDER_WIN and mode != "none":
                continue
            base = {k: v for k, v in self.apart.get(key, {}).items() if k in given}
            before = final(self.run(name, **base), dtype=torch.float64, backend="torch")
            changed = {**base, key: self._other(key, default)}
            after = final(self.run(name, **changed), dtype=torch.float64, backend="torch")
            same = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
            expect(not same, f"{name} ends the same with another {key}")

    def _other(self, key: str, default: Any) -> Any:
        if key == "betas":
            return tuple(0.8 * beta for beta in default)
        if key == "decay":
            return "coupled" if default == "decoupled" else "decoupled"
        return not default if isinstance(default, bool) else self.others[key]

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_gradients_are_never_written(self, name: str, backend: str) -> None:
        """Step with clipping and decay; the gradient keeps its bits."""
        p = parameter(11)
        with usable(backend):
            optimizer = create(name, [p], backend=backend, **self.setting)
            for _ in range(2):
                before = torch.as_tensor(p.grad).clone()
                take(optimizer)
                expect(torch.equal(before, torch.as_tensor(p.grad)), "a gradient was written")

    def test_a_loaded_checkpoint_continues_bit_for_bit(self, name: str) -> None:
        """Save half way, load by ``weights_only``, and end where an uninterrupted run does.

        The optimizer that loads has other hyper-parameters until it does.
        """
        acceleration = create(name, [parameter(1)]).param_groups[0]["acceleration"]
        for backend in ("torch", "auto"):
            for dtype in (torch.float32, torch.bfloat16):
                straight, halved = parameter(9, dtype), parameter(9, dtype)
                whole = create(name, [straight], backend=backend, **self.setting)
                advance(whole, straight, range(6))
                first = create(name, [halved], backend=backend, **self.setting)
                advance(first, halved, range(3))
                second = create(name, [halved], backend=backend, acceleration=acceleration)
                second.load_state_dict(saved_and_loaded(first.state_dict()))
                advance(second, halved, range(3, 6))
                expect(
                    torch.equal(straight, halved), f"{dtype} resumed on {backend} ends elsewhere"
                )

    def test_a_checkpoint_of_more_groups_loads_once_they_are_added(self, name: str) -> None:
        """Add a group in the middle of a run, and again before its checkpoint is loaded."""
        runs = []
        for load in (False, True):
            p, q = parameter(4), parameter(3)
            optimizer = create(name, [p], **self.setting)
            advance(optimizer, p, range(2))
            optimizer.add_param_group({"params": [q], "lr": 0.3})
            advance(optimizer, p, range(2, 4))
            if load:
                saved, optimizer = optimizer.state_dict(), create(name, [p], **self.setting)
                optimizer.add_param_group({"params": [q]})
                optimizer.load_state_dict(saved)
            advance(optimizer, p, range(4, 6))
            runs.append((p, q))
        for a, b in zip(*runs, strict=True):
            expect(torch.equal(a, b), "a resumed group ends elsewhere")

    def test_state_of_half_precision_stays_in_single(self, name: str) -> None:
        """Load the state of a bfloat16 parameter; it must not pass through bfloat16."""
        p = parameter(5, torch.bfloat16)
        first, second = create(name, [p]), create(name, [p])
        take(first)
        second.load_state_dict(first.state_dict())
        for key, value in first.state[p].items():
            if isinstance(value, Tensor):
                expect(value.dtype == torch.float32, f"{key} is kept in {value.dtype}")
                expect(torch.equal(second.state[p][key], value), f"{key} was rounded by loading")

    def test_a_loaded_state_is_a_copy(self, name: str) -> None:
        """Step the optimizer that was loaded; the one it came from keeps its state."""
        p = parameter(4)
        first, second = create(name, [p]), create(name, [p])
        take(first)
        second.load_state_dict(first.state_dict())
        before = copy.deepcopy(first.state_dict()["state"])
        take(second)
        for key, value in first.state_dict()["state"][0].items():
            same = torch.equal(torch.as_tensor(value), torch.as_tensor(before[0][key]))
            expect(same, f"{key} is shared with the optimizer that loaded it")

    def test_copies_and_pickles_go_on_alike(self, name: str) -> None:
        """Copy the optimizer with its parameter, both ways, and step all three."""
        p = parameter(6)
        optimizer = create(name, [p], **self.setting)
        advance(optimizer, p, range(2))
        twins = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
        advance(optimizer, p, range(2, 4))
        for twin in twins:
            q = twin.param_groups[0]["params"][0]
            advance(twin, q, range(2, 4))
            expect(torch.equal(p, q), "a copy goes on differently")

    def test_a_closure_is_differentiated_and_its_loss_returned(self, name: str) -> None:
        """Step by a closure that calls backward."""
        p = parameter(3)
        optimizer = create(name, [p])

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = p.square().sum()
            descend(optimizer, loss)
            return loss

        before = p.detach().clone()
        loss = optimizer.step(closure)
        expect(torch.equal(loss, before.square().sum()), "step does not return the loss")
        optimizer.step(closure)  # ADOPT's first step only measures
        expect(not torch.equal(before, p), "the parameter did not move")

    def test_a_parameter_without_gradient_stays(self, name: str) -> None:
        """Step beside one that has no gradient."""
        p, q = parameter(3), parameter(3)
        q.grad = None
        before = q.detach().clone()
        optimizer = create(name, [p, q])
        take(optimizer)
        expect(torch.equal(before, q), "a parameter without gradient moved")
        expect(q not in optimizer.state, "a parameter without gradient has state")

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_zeros_stay_finite(self, name: str, backend: str) -> None:
        """Step from zero along a zero gradient."""
        p = torch.nn.Parameter(torch.zeros(5))
        p.grad = torch.zeros(5)
        with usable(backend):
            optimizer = create(name, [p], backend=backend, **self.setting)
            take(optimizer)
            take(optimizer)
        expect(torch.equal(p, torch.zeros(5)), f"zeros became {p.tolist()}")

    def test_a_learning_rate_of_zero_is_finite(self, name: str) -> None:
        """Warm up from exactly zero."""
        p = parameter(5)
        optimizer = create(name, [p], lr=0.0)
        advance(optimizer, p, range(3))
        expect(bool(torch.isfinite(p).all()), f"the parameter became {p.tolist()}")

    def test_a_learning_rate_may_be_a_tensor(self, name: str) -> None:
        """Give the same rate both ways."""
        p, q = parameter(5), parameter(5)
        advance(create(name, [p], lr=0.25), p, range(2))
        advance(create(name, [q], lr=torch.tensor(0.25)), q, range(2))
        expect(torch.equal(p, q), "a tensor gives another step than its number")

    def test_groups_added_later_have_their_own_setting(self, name: str) -> None:
        """Step a group alone, and as the second group of another optimizer."""
        alone, first, second = parameter(5), parameter(2), parameter(5)
        expected = create(name, [alone], lr=0.3, weight_decay=0.1, max_grad_norm=0.0)
        optimizer = create(name, [first], max_grad_norm=0.0)
        optimizer.add_param_group({"params": [second], "lr": 0.3, "weight_decay": 0.1})
        take(expected)
        take(optimizer)
        expect(torch.equal(alone, second), "a group steps differently beside another")

    def test_what_makes_no_sense_is_refused(self, name: str) -> None:
        """Quote a refusal whole."""
        with pytest.raises(ValueError, match=r"^lr must be at least 0 and finite, got -1$"):
            create(name, [parameter(1)], lr=-1.0)
        with pytest.raises(ValueError, match=r"^optimizer got an empty parameter list$"):
            create(name, [])

    def test_presets_begin_with_the_reference_and_build(self, name: str) -> None:
        """Build every preset."""
        origins = []
        for preset in presets(name):
            given = dict(preset)
            origins.append(given.pop("origin"))
            expect(0.0 <= given.pop("warmup") <= 0.5, f"{origins[-1]} warms up too long")
            create(name, [parameter(1)], **given)
        expect(origins[0] in {"authors", "default"}, "the first preset is not the reference")
        expect(len(set(origins)) == len(origins) >= 2, f"origins are {origins}")

    def test_presets_lie_inside_the_space(self, name: str) -> None:
        """Look up every number of every preset in its range."""
        ranges = space(name)
        for preset in presets(name):
            for key, value in coordinates(preset).items():
                if key in ranges:
                    _, low, high = ranges[key]
                    expect(low <= value <= high, f"{preset['origin']}: {key} is {value}")

    def test_the_backend_is_shown(self, name: str) -> None:
        """Read what was picked off ``repr``."""
        optimizer = create(name, [parameter(1)], backend="torch")
        expect("backend: torch" in repr(optimizer), "repr does not show the backend")


def coordinates(preset: dict[str, Any]) -> dict[str, float]:
    """Return a preset in the words of a space."""
    found = {"lr": preset["lr"], "warmup": preset["warmup"]}
    if preset["weight_decay"]:
        found["timescale"] = 1.0 / (preset["lr"] * preset["weight_decay"])
    for i, beta in enumerate(preset.get("betas", ())):
        found[f"one_minus_beta{i + 1}"] = round(1.0 - beta, 12)
    if "momentum" in preset:
        found["one_minus_momentum"] = round(1.0 - preset["momentum"], 12)
    if "reckless_steps" in preset:
        found["gamma1"] = preset["reckless_steps"][0]
        found["gamma_ratio"] = preset["reckless_steps"][1] / preset["reckless_steps"][0]
    return found


def parameter(size: int, dtype: torch.dtype = torch.float32) -> torch.nn.Parameter:
    """Return a parameter with a gradient, the same for every size."""
    p = torch.nn.Parameter(torch.linspace(-1.0, 1.5, size).to(dtype))
    p.grad = torch.linspace(2.0, -1.0, size).to(dtype)
    return p


def advance(optimizer: torch.optim.Optimizer, p: Tensor, steps: range) -> None:
    """Take steps along gradients that depend on the step's number only."""
    for k in steps:
        p.grad = gradient(p, k)
        take(optimizer)


def take(optimizer: torch.optim.Optimizer) -> None:
    """Take a step; one that differentiates gradients once more finds some with a graph."""
    if getattr(optimizer, "second_order", False):
        for p in [p for group in optimizer.param_groups for p in group["params"]]:
            p.grad = None if p.grad is None else curved(p, p.grad, 0.5)
    optimizer.step()


def descend(optimizer: Any, loss: Tensor) -> None:
    """Compute the gradients of a loss, with their graph if the optimizer needs it."""
    backward = optimizer.backward if getattr(optimizer, "second_order", False) else Tensor.backward
    backward(loss)


def gradient(p: Tensor, step: int) -> Tensor:
    """Return the gradient that ``advance`` gives at a step."""
    return torch.linspace(1.0, -0.5, p.numel()).mul(math.cos(step)).to(p.dtype)


def saved_and_loaded(state: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint as it comes back from a file."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded
