"""What PyTorch asks of its own optimizers, with its settings and schedules, asked of ours.

Its table of optimizers (``OptimizerInfo``) comes with torch; what is asked is written here.
"""

import copy
import inspect
import itertools
import sys
import types
import unittest

import pytest
import torch
from torch.optim import optimizer as hooks

from autotune.optimizers.registry import defaults, resolve
from autotune.testing.backends import usable
from autotune.testing.optimizers import runs, saved_and_loaded

# Torch takes these and this project does not, or the other way round.
OTHERS = {
    "maximize",
    "lr as Tensor doesn't work with foreach & not capturable",
    "betas must be either both floats or both Tensors",
    r"betas\[0\] as a Tensor is not supported for capturable=False and foreach=True",
}


@pytest.fixture(scope="module")
def table():
    """Torch's module of optimizers' settings, as if its import changed nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        if "expecttest" not in sys.modules:  # which torch needs for a class that is not used here
            stand_in = types.ModuleType("expecttest")
            stand_in.TestCase = unittest.TestCase
            patch.setitem(sys.modules, "expecttest", stand_in)
        for name in ("ScriptFunction", "ScriptMethod"):
            patch.setattr(getattr(torch._C, name), "__call__", getattr(torch._C, name).__call__)
        patch.setattr(torch.backends, "disable_global_flags", lambda: None)
        from torch.testing._internal import common_optimizers
    return common_optimizers


# The interpreter is slow, and rules are compared elsewhere: one accelerated optimizer is enough.
RUNS = [
    (name, backend)
    for name, backend in runs()
    if backend != "triton" or resolve(name)[1] == "none" or name == "adamw-win2"
]


@pytest.fixture(params=RUNS, ids="-".join)
def asked(request, table):
    name, backend = request.param
    with usable(backend):
        yield Asked(table, name, backend)


class Asked:
    """One optimizer on one backend, and what torch tries with its namesake; Adam has most."""

    def __init__(self, table, name, backend):
        self.name = name
        self.cls, acceleration = resolve(name)
        self.fixed = {"acceleration": acceleration, "backend": backend}
        known = {info.name: info for info in table.optim_db}
        info = known.get(self.cls.__name__, known["Adam"])
        self.info = table.OptimizerInfo(
            self.cls,
            optim_inputs_func=info.optim_inputs_func,
            optim_error_inputs_func=info.optim_error_inputs_func,
            scheduler_inputs=info.scheduler_inputs,
            supports_complex=False,
            supported_impls=(),
        )

    def settings(self):
        """Return torch's settings, without those whose words this optimizer does not have."""
        words = set(inspect.signature(self.cls).parameters)
        inputs = self.info.optim_inputs_func(device="cpu")
        needs = self.cls.needs.get(self.fixed["acceleration"], {})
        found = [given.kwargs for given in inputs if set(given.kwargs) <= words]
        return [own for own in found if all(own.get(k, v) == v for k, v in needs.items())]

    def mistakes(self):
        inputs = self.info.optim_error_inputs_func("cpu", torch.float32)
        return [given for given in inputs if given.optimizer_error_input.desc not in OTHERS]

    def build(self, params, **setting):
        return self.cls(params, **{"max_grad_norm": 0.0, **self.fixed, **setting})

    @property
    def quick(self):
        """Torch's backend takes every setting and schedule, the others the first ones."""
        return self.fixed["backend"] == "torch"


def layer(dtype=torch.float32, gaps=False):
    """Return a weight and a bias, and what they make of an input: smaller is better."""
    draw = torch.Generator().manual_seed(1)
    weight, bias, x = (torch.randn(*s, 2, generator=draw) for s in ((6, 3), (6,), (3,)))
    lie = (lambda t: t[..., 0]) if gaps else (lambda t: t[..., 0].contiguous())
    params = [torch.nn.Parameter(lie(t).to(dtype)) for t in (weight, bias)]
    return params, lambda: (params[0].mv(x[..., 0].to(dtype)) + params[1]).square().sum()


def closure_of(optimizer, loss):
    def closure():
        optimizer.zero_grad()
        found = loss()
        found.backward()
        return found

    return closure


def steps(optimizer, loss, count, schedules=()):
    for _ in range(count):
        found = optimizer.step(closure_of(optimizer, loss))
        for schedule in schedules:
            measured = isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
            schedule.step(*[found.item()] * measured)


def equal(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def test_every_setting_descends_under_every_schedule(asked):
    falls = asked.build(layer()[0]).schedule == "cosine"
    schedules = [(), *(asked.info.scheduler_inputs if falls else ())]
    pairs = list(itertools.product(asked.settings(), schedules))
    for k, (setting, makers) in enumerate(pairs if asked.quick else pairs[:2]):
        params, loss = layer(gaps=bool(k % 2))
        optimizer = asked.build(params, **copy.deepcopy(setting))  # schedules write into tensors
        before = loss().item()
        steps(optimizer, loss, 4, [make(optimizer) for make in makers])
        assert loss().item() < before, (setting, makers)


def test_a_group_steps_by_its_own_rate_and_decay(asked):
    (weight, bias), loss = layer()
    other, stays = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    groups = [{"params": [weight]}, {"params": [bias], "lr": 0.0}, {"params": [other]}]
    optimizer = asked.build(groups, lr=0.01, weight_decay=0.1)
    before = [p.detach().clone() for p in (weight, bias, other)]
    steps(optimizer, lambda: loss() + 0.0 * stays.sum(), 2)
    pairs = zip((weight, bias, other), before, strict=True)
    moved = [not torch.allclose(p, q) for p, q in pairs]  # with Win a rate of 0 leaves rounding
    assert moved == [True, False, False]
    assert optimizer.param_groups[1]["lr"] == 0.0
    assert torch.equal(stays, torch.ones(2))


def test_hooks_run_before_and_after_a_step_until_they_are_removed(asked):
    params, loss = layer()
    optimizer, told = asked.build(params), []
    handles = [
        hooks.register_optimizer_step_pre_hook(lambda *given: told.append(("any", *given))),
        optimizer.register_step_pre_hook(lambda *given: told.append(("before", *given))),
        optimizer.register_step_post_hook(lambda *given: told.append(("after", *given))),
    ]
    closure = closure_of(optimizer, loss)
    optimizer.step(closure)
    for handle in handles:
        handle.remove()
    optimizer.step(closure)
    assert sorted(word for word, *_ in told) == ["after", "any", "before"]
    assert told[-1][0] == "after"
    assert all(given == [optimizer, (optimizer, closure), {}] for _, *given in told)


def test_a_hook_may_give_a_step_another_closure(asked):
    params, loss = layer()
    optimizer, seen = asked.build(params), []

    def noted():
        seen.append(1)
        return closure_of(optimizer, loss)()

    optimizer.register_step_pre_hook(lambda own, args, kwargs: ((own, noted), kwargs))
    optimizer.step(lambda: None)
    assert seen == [1]


def test_hooks_of_checkpoints_run_in_order_and_may_replace_them(asked):
    params, loss = layer()
    optimizer, told = asked.build(params), []
    steps(optimizer, loss, 1)
    optimizer.register_state_dict_pre_hook(lambda own: told.append("saving"))
    optimizer.register_state_dict_post_hook(lambda own, saved: {**saved, "note": 1})
    optimizer.register_load_state_dict_pre_hook(lambda own, saved: told.append("second"))
    optimizer.register_load_state_dict_pre_hook(
        lambda own, saved: told.append(saved["note"]), prepend=True
    )
    optimizer.register_load_state_dict_post_hook(lambda own: told.append("loaded"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert told == ["saving", 1, "second", "loaded"]


def test_a_checkpoint_goes_on_as_the_run_that_wrote_it(asked):
    for setting in asked.settings()[: None if asked.quick else 1]:
        (params, loss), (twins, other_loss) = layer(), layer()
        first, second = asked.build(params, **setting), asked.build(twins)
        steps(first, loss, 3)
        for p, q in zip(params, twins, strict=True):
            q.data.copy_(p)
        second.load_state_dict(saved_and_loaded(first.state_dict()))
        steps(first, loss, 2)
        steps(second, other_loss, 2)
        assert equal(params, twins), setting


def test_a_checkpoint_from_before_a_setting_was_known_loads(asked):
    params, loss = layer()
    optimizer = asked.build(params)
    steps(optimizer, loss, 1)
    saved = optimizer.state_dict()
    for group in saved["param_groups"]:
        for name in ("reckless_steps", "amsgrad", "nesterov", "always_adapt", "decay"):
            group.pop(name, None)
    optimizer.load_state_dict(saved)
    assert set(optimizer.param_groups[0]) >= set(asked.build(layer()[0]).defaults)
    steps(optimizer, loss, 1)


def test_names_of_parameters_are_kept_in_checkpoints(asked):
    params, loss = layer()
    named = asked.build(zip(("weight", "bias"), params, strict=True))
    steps(named, loss, 1)
    saved = named.state_dict()
    assert saved["param_groups"][0]["param_names"] == ["weight", "bias"]
    plain = asked.build(params)
    plain.load_state_dict(saved)
    named.load_state_dict({**saved, "param_groups": plain.state_dict()["param_groups"]})
    steps(named, loss, 1)


def test_a_copy_has_every_public_attribute_and_goes_on_alike(asked):
    params, loss = layer()
    optimizer = asked.build(params)
    steps(optimizer, loss, 1)
    copied = copy.deepcopy(optimizer)

    def public(own):
        return {name for name in vars(own) if not name.startswith("_")}

    assert public(copied) == public(optimizer)
    twins = copied.param_groups[0]["params"]
    for p, q in zip(params, twins, strict=True):
        q.grad = p.grad.clone()
    optimizer.step()
    copied.step()
    assert equal(params, twins)


def test_it_prints_every_value_of_every_group(asked):
    text = repr(asked.build([{"params": [p]} for p in layer()[0]]))
    assert text.startswith(f"{asked.cls.__name__} (\nParameter Group 0\n")
    assert all(text.count(f"\n    {name}: ") == 2 for name in asked.build(layer()[0]).defaults)


def test_nothing_moves_without_gradients_or_with_gradients_of_zero(asked):
    params, _ = layer()
    before = [p.detach().clone() for p in params]
    optimizer = asked.build(params, weight_decay=0.0)
    optimizer.step()
    assert equal(params, before)
    assert not any(optimizer.state.values())
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(params, before)
    assert all(optimizer.state[p] for p in params)


@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_a_rate_may_be_a_tensor_of_one_number(asked, shape):
    ends = []
    for rate in (0.25, torch.full(shape, 0.25)):
        params, loss = layer()
        steps(asked.build(params, lr=rate), loss, 2)
        ends.append(params)
    assert equal(*ends)


def test_mistakes_are_refused(asked):
    for mistake in asked.mistakes():
        given = mistake.optimizer_error_input
        params = layer()[0] if given.params is None else given.params
        kind = (ValueError, TypeError) if mistake.error_type is ValueError else mistake.error_type
        with pytest.raises(kind):  # a warning is an error here
            asked.build(params, **given.kwargs)


def test_complex_parameters_are_refused_and_their_real_views_step(asked):
    number = torch.ones(3, dtype=torch.complex64)
    with pytest.raises(ValueError, match=r"pass torch\.view_as_real"):
        asked.build([torch.nn.Parameter(number)])
    view = torch.nn.Parameter(torch.view_as_real(number))
    steps(asked.build([view], lr=0.01), lambda: torch.view_as_complex(view).abs().sum(), 1)
    assert view.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_every_dtype_descends(asked, dtype):
    params, loss = layer(dtype)
    before = loss().item()
    rate = 0.01 / defaults(asked.name).get("trust_coeff", 1.0)  # which LARS multiplies its rate by
    steps(asked.build(params, lr=rate), loss, 8)  # ADOPT begins a tenth as fast as others
    assert loss().item() < before


def test_the_table_s_import_leaves_torch_as_it_was(table):
    assert table.optim_db
    assert not torch.backends.flags_frozen()
    assert "prof" not in torch._C.ScriptFunction.__call__.__name__
