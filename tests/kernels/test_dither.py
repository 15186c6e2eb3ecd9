"""Rounding at random: unbiased, counted, and the same bits on every backend."""

import math
from dataclasses import replace

import pytest
import torch

from autotune.kernels import backends
from autotune.kernels.lang import plain
from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules import dither
from autotune.kernels.rules.adan import ADAN
from autotune.kernels.rules.decay import DESCENT
from autotune.kernels.rules.sgd import SGD
from autotune.kernels.rules.win import WIN2
from autotune.kernels.triton import configs
from autotune.testing.backends import BACKENDS, usable

COPYING = Rule(direction=SGD, application=DESCENT, dithered=(2,))
COPY = (0.0, 0.0, 1.0, 0.0, 0.0, 0.0)  # the buffer becomes the gradient, the parameter stays
MOVING = Rule(direction=SGD, application=DESCENT, dithered=(0,))
MOVE = (0.0, 0.0, 1.0, 1.0, 0.0, 1.0)  # the parameter becomes itself minus the gradient


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    setting = configs.Config(chunk=4096, block=4096, warps=1)  # few programs to interpret
    monkeypatch.setattr(configs, "INTERPRETER", setting)
    with usable(request.param):
        yield backends.load(request.param)


def copied(backend, g, key=1):
    """Return numbers as a buffer in bfloat16 keeps them."""
    b = torch.empty_like(g, dtype=torch.bfloat16).fill_(7.0)
    backend.step(COPYING, [Update(torch.zeros_like(g), g, (b,), COPY, key)], None)
    return b


def neighbours(x):
    """Return the numbers of bfloat16 that x lies between, nearer to zero first."""
    low = (x.view(torch.int32) & -65536).view(torch.float32)
    return low, (low.view(torch.int32) + 65536).view(torch.float32)


@pytest.mark.parametrize("x", [1.0 + 2.0**-9, -3.3, 1e-40, 3e38], ids=str)
def test_the_mean_of_many_roundings_is_the_number(backend, x):
    exact = torch.full((2**15,), x)
    found = copied(backend, exact).double()
    low, high = (n[0].double() for n in neighbours(exact))
    share = float((exact[0].double() - low) / (high - low))
    error = float((high - low).abs()) * math.sqrt(share * (1.0 - share) / len(exact))
    assert set(found.tolist()) == {float(low), float(high)}
    assert abs(float(found.mean() - exact[0].double())) < 4.0 * error


def test_what_is_a_number_of_bfloat16_stays(backend):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    g = every[~every.isnan()].float()
    assert torch.equal(copied(backend, g).float(), 0.0 + g)


def test_what_is_not_a_number_stays_so(backend):
    nan = torch.tensor([0x7F800001, 0x7FFFFFFF, -0x007FFFFF], dtype=torch.int32)
    assert copied(backend, nan.view(torch.float32)).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_backends_round_alike(backend, dtype):
    g = torch.randn(9000, generator=torch.Generator().manual_seed(0), dtype=dtype)
    b = copied(backend, g, key=(5 << 32) + 3)
    expected = dither.dithered(0.0 + g, torch.arange(9000), (5 << 32) + 3, 2)
    assert torch.equal(b, expected)


@pytest.mark.parametrize("backend", ["triton"], indirect=True)
def test_elements_beyond_the_first_four_billion_have_bits_of_their_own(backend, monkeypatch):
    far, real = 3 << 32, backend.launch_groups

    def moved(rule, updates):
        """Let the tensors end here, and begin where nobody reads."""
        [group], _ = real(rule, updates)
        table, grads = group.table.clone(), group.grads - 4 * far
        table -= far * torch.tensor([4, 2])  # a parameter in float32, a buffer in bfloat16
        chunks = (group.cut.chunks.view(-1, 3) + torch.tensor([0, far, 0])).reshape(-1)
        return [group._replace(table=table, grads=grads, cut=group.cut._replace(chunks=chunks))], []

    monkeypatch.setattr(backend, "launch_groups", moved)
    g = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    expected = dither.dithered(0.0 + g, far + torch.arange(5000), 7, 2)
    assert torch.equal(copied(backend, g, key=7), expected)


def test_a_chunk_that_could_cross_four_billion_elements_is_refused():
    sentence = r"^chunk must be a power of 2 and at least a block of 512, got 5000$"
    with pytest.raises(ValueError, match=sentence):
        configs.Config(chunk=5000, block=512, warps=4)


@pytest.mark.parametrize("backend", ["torch"], indirect=True)
def test_pieces_round_as_the_whole(backend, monkeypatch):
    g = torch.randn(1000)
    whole = copied(backend, g)
    monkeypatch.setattr(backend, "_PIECE", 64)
    assert torch.equal(copied(backend, g), whole)


def test_elements_are_counted_as_they_lie_in_memory(backend):
    g = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    flat = g.permute(0, 2, 3, 1).reshape(-1)
    assert torch.equal(copied(backend, g).permute(0, 2, 3, 1).reshape(-1), copied(backend, flat))


def test_a_parameter_moves_on_average_by_less_than_it_can_show(backend):
    p = torch.ones(2**14, dtype=torch.bfloat16)
    g = torch.full((2**14,), 2.0**-12)
    for step in range(8):
        rest = (g, (torch.zeros(2**14),), MOVE, step << 32)
        backend.step(MOVING, [Update(p, *rest)], None)
    moved = 1.0 - float(p.double().mean())
    error = math.sqrt(8 * 2.0**-8 * 2.0**-12 / 2**14)
    assert abs(moved - 8 * 2.0**-12) < 4.0 * error


@pytest.mark.parametrize("other", [{"key": 2}, {"key": 1 << 32}, {"role": 1}, {"role": 2}], ids=str)
def test_steps_tensors_and_roles_have_bits_of_their_own(other):
    at = torch.arange(2**16)
    given = {"key": 1, "role": 0}
    first, second = (plain(dither.noise)(at, **g).double() for g in (given, {**given, **other}))
    correlation = torch.corrcoef(torch.stack([first, second]))[0, 1]
    assert abs(float(correlation)) < 4.0 / math.sqrt(len(at))


def test_bits_are_spread_evenly():
    bits = plain(dither.noise)(2**32 - 2**15 + torch.arange(2**16), 7, 3)
    counts = torch.bincount(bits >> 8, minlength=256).double()
    chi = float(((counts - 256.0) ** 2 / 256.0).sum())
    assert abs(chi - 255.0) < 4.0 * math.sqrt(2.0 * 255.0)


def test_differences_stand_for_sequences(backend):
    draw = torch.Generator().manual_seed(0)
    p, g, x, y, *state = torch.randn(8, 5000, generator=draw).abs()
    x, y = ((p + 0.01 * t).float() for t in (x, y))
    rule = Rule(direction=ADAN, application=WIN2)
    row = (1.0, 0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.5, 0.5, 0.5, 1e-8, 0.1, 0.2, 2.0, 8.0)
    q, differences = p.clone(), [(t - p).bfloat16() for t in (x, y)]
    held = [q + difference.float() for difference in differences]
    plainly = [t.clone() for t in (*state[:4], *held)]
    backends.load("torch").step(rule, [Update(p, g, tuple(plainly), row)], None)
    kept = (*[t.clone() for t in state[:4]], *differences)
    backend.step(replace(rule, relative=True), [Update(q, g, kept, row)], None)
    torch.testing.assert_close(q, p, rtol=1e-5, atol=1e-6)
    for difference, sequence in zip(differences, plainly[4:], strict=True):
        torch.testing.assert_close(q + difference.float(), sequence, rtol=0.0, atol=2e-3)
