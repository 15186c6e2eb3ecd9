"""Every registered optimizer behaves as a ``torch.optim.Optimizer`` to the libraries around it."""

import inspect
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch

from autotune.testing.optimizers import of_second_order, under_test
from autotune.testing.torch_optimizer import TorchOptimizerContract

FAILED = (AssertionError, pytest.fail.Exception, *(KeyError, RuntimeError, TypeError, ValueError))


class TestTorchOptimizers(TorchOptimizerContract):
    @pytest.fixture(params=[*under_test(), *of_second_order()])
    def name(self, request):
        return request.param


class TestCompact(TorchOptimizerContract):
    setting: ClassVar = {**TorchOptimizerContract.setting, "compact": True}
    test_a_step_under_a_schedule_is_one_graph = None  # compact changes nothing there

    @pytest.fixture(params=["adan-win", "adamw-win2"])
    def name(self, request):
        return request.param


class Torchs(TorchOptimizerContract):
    """The contract for classes that are not registered."""

    setting: ClassVar = {"lr": 0.1, "weight_decay": 0.2}
    apart: ClassVar = {"lr": 0.3}

    def built(self, name, params, **more):
        return name(params, **{**self.setting, **more})

    def stepped(self, optimizer):
        optimizer.step()
        return True


class TestTorchsOwn(Torchs):
    """The contract asks no more than torch does, but for these."""

    test_a_step_under_a_schedule_is_one_graph = None
    test_numbers_are_plain_or_refused = None
    test_tuples_are_plain_or_refused = None

    @pytest.fixture(params=[torch.optim.AdamW, torch.optim.Adam])
    def name(self, request):
        return request.param


class Own(torch.optim.AdamW):
    """It loads and saves what it knows."""

    def state_dict(self):
        saved = super().state_dict()
        known = {"step", "exp_avg", "exp_avg_sq"}
        for i, kept in saved["state"].items():
            saved["state"][i] = {word: kept[word] for word in known & set(kept)}
        return saved


class Tidy(torch.optim.AdamW):
    def state_dict(self):
        saved = super().state_dict()
        for group in saved["param_groups"]:
            group.pop("note", None)
        return saved


class Wordy(torch.optim.AdamW):
    def state_dict(self):
        saved = super().state_dict()
        for group in saved["param_groups"]:
            group["version"] = 2
        return saved


class Lenient(torch.optim.AdamW):
    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            state = self.state[p]
            if state:
                for word in ("exp_avg", "exp_avg_sq"):
                    state.setdefault(word, torch.zeros_like(p))
        return super().step(closure)


class Stubborn(torch.optim.AdamW):
    """It steps the parameters that it was built with."""

    def __init__(self, params, **more):
        super().__init__(params, **more)
        self.own = self.param_groups[0]["params"]

    def step(self, closure=None):
        self.param_groups[0]["params"] = self.own
        return super().step(closure)


class Deaf(torch.optim.AdamW):
    def load_state_dict(self, saved):
        rates = [group["lr"] for group in self.param_groups]
        super().load_state_dict(saved)
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate


class Eager(torch.optim.AdamW):
    def step(self, closure=None):
        self.size = self.param_groups[0]["params"][0].sum().item()
        return super().step(closure)


class Choosy(torch.optim.AdamW):
    """It steps what is a parameter and nothing more."""

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.grad = p.grad if type(p) is torch.nn.Parameter else None
        return super().step(closure)


class Placed(torch.optim.AdamW):
    def step(self, closure=None):
        torch.full((), 1.0).item()
        return super().step(closure)


class Amnesic(torch.optim.AdamW):
    def __getstate__(self):
        return {**super().__getstate__(), "state": {}}


BROKEN = [
    ("test_a_wrapper_that_keeps_state_in_it_is_saved_and_goes_on", Own),
    ("test_foreign_entries_of_state_pass_through", Own),
    ("test_what_is_missing_is_refused_beside_foreign_entries", Lenient),
    ("test_others_words_in_groups_stay", Tidy),
    ("test_groups_have_the_words_of_their_checkpoint", Wordy),
    ("test_other_parameters_and_state_may_be_swapped_in", Stubborn),
    ("test_distributed_state_goes_on_in_another_model", Deaf),
    ("test_tensors_without_values_are_stepped_or_refused", Eager),
    ("test_subclasses_of_tensors_step_as_their_values_or_are_refused", Choosy),
    ("test_the_default_device_is_not_the_parameters", Placed),
    ("test_copies_and_pickles_under_a_schedule_go_on_alike", Amnesic),
    ("test_numbers_are_plain_or_refused", torch.optim.AdamW),
    ("test_tuples_are_plain_or_refused", torch.optim.AdamW),
    ("test_a_step_under_a_schedule_is_one_graph", torch.optim.AdamW),
]


@pytest.mark.parametrize(("check", "broken"), BROKEN)
def test_a_broken_optimizer_is_found(check, broken):
    test = getattr(Torchs(), check)
    asked = inspect.signature(test).parameters
    if "flat" in asked:
        test = partial(test, flat=False)
    if "kind" in asked:
        kinds = {"numbers": "numpy", "tuples": np.array, "subclasses": "wrapped"}
        test = partial(test, kind=next(kind for word, kind in kinds.items() if word in check))
    with pytest.raises(FAILED):
        test(broken)


def test_every_test_of_the_contract_finds_a_broken_optimizer():
    tests = {word for word in dir(TorchOptimizerContract) if word.startswith("test_")}
    assert {check for check, _ in BROKEN} == tests
