"""What libraries around ``torch.optim`` do with an optimizer; a plugin subclasses the contract.

Torch's own optimizers are the yardstick. They pass all but three: their steps are no one graph
where Dynamo sees a schedule, and numbers of NumPy stay what they are.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from collections import UserList
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import lr_scheduler
from torch.utils import _pytree

from autotune.optimizers.registry import create
from autotune.testing.expect import expect, same
from autotune.testing.optimizers import (
    advance,
    descend,
    gradient,
    parameter,
    saved_and_loaded,
    take,
)

# What a step may say of tensors that it cannot read.
REFUSALS = (NotImplementedError, RuntimeError, TypeError, ValueError)


class TorchOptimizerContract:
    """Tests of one optimizer; a subclass gives the fixture ``name``, or sets ``names``.

    Attributes:
        setting: What the optimizer is built with.
        apart: Other values of some of it, of an optimizer that a checkpoint is loaded into.
    """

    setting: ClassVar[dict[str, Any]] = {"lr": 0.1, "weight_decay": 0.2, "max_grad_norm": 0.7}
    apart: ClassVar[dict[str, Any]] = {"lr": 0.3, "max_grad_norm": 0.0}

    def built(self, name: str, params: Any, **more: Any) -> Any:
        """Return an optimizer with the contract's setting."""
        return create(name, params, **{**self.setting, **more})

    def stepped(self, optimizer: Any) -> bool:
        """Take a step; return False if it was refused in a sentence."""
        try:
            take(optimizer)
        except REFUSALS as error:
            expect(len(str(error).splitlines()) == 1, f"a step says {error!r}, not a sentence")
            return False
        return True

    def pair(self, name: str) -> tuple[Any, Parameter]:
        """Return an optimizer that has taken three steps, and its parameter."""
        p = parameter(6)
        optimizer = self.built(name, [p])
        advance(optimizer, p, range(3))
        return optimizer, p

    def test_a_wrapper_that_keeps_state_in_it_is_saved_and_goes_on(self, name: str) -> None:
        """Wrap it as Lookahead does, and stop half way."""
        whole, halved = parameter(6), parameter(6)
        straight: Any = Averaging(self.built(name, [whole]))
        first: Any = Averaging(self.built(name, [halved]))
        advance(straight, whole, range(6))
        advance(first, halved, range(3))
        second: Any = Averaging(self.built(name, [halved]))
        second.load_state_dict(saved_and_loaded(first.state_dict()))
        advance(second, halved, range(3, 6))
        expect(torch.equal(whole, halved), "a wrapped run ends elsewhere when it is resumed")

    def test_foreign_entries_of_state_pass_through(self, name: str) -> None:
        """Keep a tensor, a number and a table beside the optimizer's own state."""
        optimizer, p = self.pair(name)
        optimizer.state[p].update(their_mean=torch.ones(2), their_count=3)
        optimizer.state["theirs"] = {"seen": 7}
        optimizer.load_state_dict(saved_and_loaded(optimizer.state_dict()))
        found = optimizer.state[p]
        same("their mean", found["their_mean"].tolist(), [1.0, 1.0])
        same("their count", found["their_count"], 3)
        same("an entry of no parameter", optimizer.state["theirs"], {"seen": 7})
        take(optimizer)

    def test_what_is_missing_is_refused_beside_foreign_entries(self, name: str) -> None:
        """Take what an optimizer cannot do without from a checkpoint that has foreign entries."""
        optimizer, p = self.pair(name)
        for word in set(optimizer.state[p]) - set(getattr(optimizer, "spare", ())):
            saved = copy.deepcopy(optimizer.state_dict())
            del saved["state"][0][word]
            saved["state"][0]["their_mean"] = torch.ones(6)
            with pytest.raises((ValueError, KeyError)):
                loaded_and_stepped(self.pair(name)[0], saved)

    def test_others_words_in_groups_stay(self, name: str) -> None:
        """Give a group what schedules and trainers keep there."""
        p = parameter(3)
        optimizer = self.built(name, [{"params": [p], "lr_scale": 0.5, "note": "head"}])
        advance(optimizer, p, range(1))
        optimizer.load_state_dict(saved_and_loaded(optimizer.state_dict()))
        group = optimizer.param_groups[0]
        same("a group's foreign words", (group["lr_scale"], group["note"]), (0.5, "head"))

    def test_groups_have_the_words_of_their_checkpoint(self, name: str) -> None:
        """Compare what is saved with what lives: tools copy one onto the other."""
        optimizer, _ = self.pair(name)
        [saved], [living] = optimizer.state_dict()["param_groups"], optimizer.param_groups
        same("the words of a saved group", sorted(saved), sorted(living))

    def test_other_parameters_and_state_may_be_swapped_in(self, name: str) -> None:
        """Step a copy inside the context; the optimizer then goes on as if nothing had been."""
        if not hasattr(torch.optim, "swap_in_optimizer_params_and_state"):
            pytest.skip("this torch swaps nothing in")
        (optimizer, p), (expected, q) = self.pair(name), self.pair(name)
        for own in (p, q):
            own.grad = gradient(own, 3)
        take(expected)
        twin = Parameter(p.detach().clone())
        twin.grad = gradient(twin, 3)
        state = copy.deepcopy(optimizer.state_dict())
        with torch.optim.swap_in_optimizer_params_and_state(optimizer, {"p": twin}, state):
            take(optimizer)
        expect(torch.equal(twin, q), "a step of what was swapped in ends elsewhere")
        expect(not torch.equal(p, q), "the optimizer's own parameter was stepped")
        take(optimizer)
        expect(torch.equal(p, q), "the optimizer goes on differently after the swap")

    @pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
    def test_distributed_state_goes_on_in_another_model(self, name: str, flat: bool) -> None:
        """Write by ``torch.distributed.checkpoint.state_dict`` in both of its forms."""
        portable = pytest.importorskip("torch.distributed.checkpoint.state_dict")
        options = portable.StateDictOptions(flatten_optimizer_state_dict=flat)
        first, second = network(), network()
        optimizer = self.built(name, grouped(first))
        other = self.built(name, grouped(second), **self.apart)
        train(first, optimizer, 3)
        state = portable.get_optimizer_state_dict(first, optimizer, options=options)
        portable.set_optimizer_state_dict(second, other, copy.deepcopy(state), options=options)
        second.load_state_dict(first.state_dict())
        for model, owner in ((first, optimizer), (second, other)):
            train(model, owner, 3)
        for p, q in zip(first.parameters(), second.parameters(), strict=True):
            expect(torch.equal(p, q), "a model that was loaded ends elsewhere")

    def test_a_step_under_a_schedule_is_one_graph(self, name: str) -> None:
        """Compile ``type(optimizer).step``: a schedule replaces the method of the optimizer."""
        (eager, p), (optimizer, q) = self.pair(name), self.pair(name)
        if getattr(optimizer, "second_order", False):
            pytest.skip("compiled code differentiates no gradients")
        # An average refuses a rate that falls.
        power = 1.0 if getattr(eager, "schedule", "cosine") == "constant" else -1.0
        schedules = [
            lr_scheduler.LambdaLR(own, lambda k: (1 + k) ** power) for own in (eager, optimizer)
        ]
        torch._dynamo.reset()
        step = torch.compile(
            lambda: type(optimizer).step(optimizer), backend="eager", fullgraph=True
        )
        for k in range(2):
            p.grad, q.grad = gradient(p, k), gradient(q, k)
            take(eager)
            with warnings.catch_warnings():  # the schedule sees no call of the method it replaced
                warnings.simplefilter("ignore")
                step()
                for plan in schedules:
                    plan.step()
        torch._dynamo.reset()
        torch.testing.assert_close(q.detach(), p.detach(), rtol=0.0, atol=1e-6)

    def test_tensors_without_values_are_stepped_or_refused(self, name: str) -> None:
        """Plan a step under ``FakeTensorMode``, as tools that count memory do."""
        from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

        with FakeTensorMode():
            p = Parameter(torch.ones(3))
            p.grad = torch.ones(3)
            optimizer = self.built(name, [p])
            if not self.stepped(optimizer):
                return
        kept = [value for value in optimizer.state[p].values() if isinstance(value, Tensor)]
        expect(
            all(isinstance(t, FakeTensor) and t.shape == p.shape for t in kept if t.ndim),
            "state is real",
        )

    @pytest.mark.parametrize("kind", ["named", "wrapped"])
    def test_subclasses_of_tensors_step_as_their_values_or_are_refused(
        self, name: str, kind: str
    ) -> None:
        """Step a subclass that has memory of its own, and one around another tensor."""
        make = (lambda t: t.as_subclass(Named)) if kind == "named" else Wrapped
        plain, q = parameter(5), parameter(5)
        p = Parameter(make(q.detach().clone()))
        ours, expected = self.built(name, [p]), self.built(name, [plain])
        for k in range(2):
            p.grad, plain.grad = make(gradient(plain, k)), gradient(plain, k)
            if not self.stepped(ours):
                return
            take(expected)
        values = p.within if isinstance(p, Wrapped) else p.detach().as_subclass(Tensor)
        torch.testing.assert_close(values.detach(), plain.detach(), rtol=1e-5, atol=1e-6)

    def test_the_default_device_is_not_the_parameters(self, name: str) -> None:
        """Step on the CPU where new tensors are made on the meta device, which has no values."""
        (expected, q), (optimizer, p) = self.pair(name), self.pair(name)
        with torch.device("meta"):
            fresh = parameter_on_cpu()
            take(self.built(name, [fresh]))
            p.grad = gradient_on_cpu(p)
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            take(optimizer)
        q.grad = gradient_on_cpu(q)
        take(expected)
        expect(torch.equal(p, q), "a step ends elsewhere under another default device")
        homes = {
            t.device.type for t in _pytree.tree_leaves(optimizer.state[p]) if isinstance(t, Tensor)
        }
        expect("meta" not in homes, f"state is on {homes}")

    def test_copies_and_pickles_under_a_schedule_go_on_alike(self, name: str) -> None:
        """Copy an optimizer whose step a schedule has replaced."""
        optimizer, p = self.pair(name)
        lr_scheduler.StepLR(optimizer, 1)
        for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
            q = twin.param_groups[0]["params"][0]
            own = Parameter(p.detach().clone())
            straight = self.built(name, [own])
            straight.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            advance(twin, q, range(3, 5))
            advance(straight, own, range(3, 5))
            expect(torch.equal(q, own), "a copy goes on differently")

    @pytest.mark.parametrize("kind", ["numpy", "integer", "word"])
    def test_numbers_are_plain_or_refused(self, name: str, kind: str) -> None:
        """Give rates as configuration tools do; the checkpoint must load, a schedule must run."""
        value: Any = {"numpy": np.float64(0.1), "integer": 1, "word": "1e-1"}[kind]
        for word in self.setting:
            plain_or_refused(partial(self._given, name, word, value), word)

    @pytest.mark.parametrize("kind", [list, np.array, UserList], ids=["list", "array", "userlist"])
    def test_tuples_are_plain_or_refused(self, name: str, kind: Callable[[Any], Any]) -> None:
        """Give betas in another kind of list."""
        for word, found in self.built(name, [parameter(4)]).defaults.items():
            if isinstance(found, tuple):
                plain_or_refused(partial(self._given, name, word, kind(found)), word)

    def _given(self, name: str, word: str, value: Any) -> Any:
        return self.built(name, [parameter(4)], **{word: value})


class Averaging:
    """A wrapper as Lookahead is one: it shares groups and state, and keeps an average in these."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.taken = inner, 0
        inner.defaults["averaging"] = 2
        for group in inner.param_groups:
            group["averaging"] = 2

    def step(self) -> None:
        """Step; after every second step, go half way back to the average."""
        take(self.inner)
        self.taken += 1
        for p in self.inner.param_groups[0]["params"]:
            kept = self.inner.state[p]
            kept.setdefault("slow", p.detach().clone())
            kept["seen"] = kept.get("seen", 0) + 1
            if kept["seen"] % self.inner.param_groups[0]["averaging"] == 0:
                kept["slow"].lerp_(p.detach(), 0.5)
                p.data.copy_(kept["slow"])

    def state_dict(self) -> dict[str, Any]:
        """Return the checkpoint of what is wrapped."""
        saved: dict[str, Any] = self.inner.state_dict()
        return saved

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Load it there."""
        self.inner.load_state_dict(saved)


class Named(torch.Tensor):
    """A tensor by another name."""


class Wrapped(torch.Tensor):
    """A tensor around another one, without memory of its own, as quantised weights are."""

    within: Tensor

    @staticmethod
    def __new__(cls: type[Wrapped], inner: Tensor) -> Wrapped:
        """Return a tensor that looks like the one inside."""
        made: Wrapped = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, dtype=inner.dtype, device=inner.device, strides=inner.stride()
        )
        made.within = inner
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # its default says less
        cls, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Do it to the tensors inside; what is written in place stays what it was."""
        inside = _pytree.tree_map_only(Wrapped, lambda t: t.within, (args, kwargs or {}))
        made = function(*inside[0], **inside[1])
        outer = {id(t.within): t for t in _wrapped((args, kwargs))}
        return _pytree.tree_map_only(Tensor, lambda t: _around(outer.get(id(t)), t), made)


def _wrapped(values: Any) -> list[Wrapped]:
    return [leaf for leaf in _pytree.tree_leaves(values) if isinstance(leaf, Wrapped)]


def _around(known: Wrapped | None, inner: Tensor) -> Wrapped:
    return Wrapped(inner) if known is None else known


def loaded_and_stepped(optimizer: Any, saved: dict[str, Any]) -> None:
    """Load a checkpoint and step: torch's own optimizers miss a tensor only then."""
    optimizer.load_state_dict(saved)
    take(optimizer)


def plain_or_refused(build: Callable[[], Any], word: str) -> None:
    """Build an optimizer; unless that is refused, its value must be Python's own and usable."""
    try:
        optimizer = build()
    except (TypeError, ValueError):
        return
    [group] = optimizer.param_groups
    value = group.get(word, getattr(optimizer, word, None))
    kept = [type(each) for each in (value if isinstance(value, tuple) else (value,))]
    expect(set(kept) <= {int, float, bool}, f"{word} is kept as {value!r}")
    schedule = lr_scheduler.StepLR(optimizer, 1)
    take(optimizer)
    schedule.step()
    optimizer.load_state_dict(saved_and_loaded(optimizer.state_dict()))


def parameter_on_cpu() -> Parameter:
    """Return a parameter on the CPU whatever the default device is."""
    p = Parameter(torch.ones(4, device="cpu"))
    p.grad = gradient_on_cpu(p)
    return p


def gradient_on_cpu(p: Tensor) -> Tensor:
    """Return a gradient beside it."""
    return torch.full(p.shape, 0.5, device="cpu")


def network() -> torch.nn.Sequential:
    """Return a small model, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


def grouped(model: torch.nn.Module) -> list[dict[str, Any]]:
    """Return its matrices, and its biases without weight decay."""
    params = list(model.parameters())
    return [
        {"params": [p for p in params if p.ndim > 1]},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]


def train(model: torch.nn.Module, optimizer: Any, steps: int) -> None:
    """Take steps on one batch."""
    for _ in range(steps):
        optimizer.zero_grad()
        descend(optimizer, model(torch.full((2, 3), 3.0)).square().sum())
        take(optimizer)
