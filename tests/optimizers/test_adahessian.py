"""What AdaHessian has of its own: a second backward pass, and what breaks it."""

import gc
import warnings
import weakref

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from autotune.optimizers import Stacked, create, curvature

AGAIN = "AdaHessian differentiates gradients once more, "


def weight(*shape, dtype=torch.float64):
    return torch.nn.Parameter(
        torch.linspace(0.5, 2.0, torch.Size(shape).numel(), dtype=dtype).reshape(shape)
    )


def built(params, **hyper):
    return create("adahessian", params, **{"backend": "torch", **hyper})


def refused(step, sentence):
    with pytest.raises(RuntimeError) as caught:
        step()
    assert str(caught.value) == AGAIN + sentence


def test_a_quadratic_is_solved_by_one_step_of_rate_one():
    p = weight(5)
    bend = torch.arange(1.0, 6.0, dtype=torch.float64)
    optimizer = built([p], lr=1.0, eps=0.0)
    optimizer.backward((bend * p.square()).sum())
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.zeros_like(p), rtol=0.0, atol=1e-14)


def test_the_mean_over_probes_is_the_diagonal_of_the_hessian():
    draw = torch.Generator().manual_seed(0)
    half = torch.randn(6, 6, generator=draw, dtype=torch.float64)
    hessian, p = half @ half.T, weight(6)
    probes = torch.stack([curvature.signs(p, step, 0) for step in range(3000)])
    mean = (probes * (probes @ hessian)).mean(dim=0)
    torch.testing.assert_close(mean, hessian.diagonal(), rtol=0.0, atol=0.3)


def test_probes_differ_by_step_and_tensor_and_repeat():
    p = weight(64)
    drawn = [curvature.signs(p, step, number) for step in (0, 1) for number in (0, 1)]
    assert len({tuple(signs.tolist()) for signs in drawn}) == 4
    # torch reads 32 bits of a seed
    assert not torch.equal(curvature.signs(p, 1 << 32, 0), drawn[0])
    assert torch.equal(curvature.signs(p, 1, 1), drawn[3])
    assert set(torch.cat(drawn).tolist()) == {-1.0, 1.0}


def test_nobody_elses_chance_moves():
    p = weight(4)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    optimizer = built([p])
    optimizer.backward(p.pow(3).sum())
    optimizer.step()
    assert torch.equal(before, torch.get_rng_state())


def test_the_tensors_of_all_terms_count_in_a_product():
    p, q = weight(1), weight(1)
    z = [torch.ones(1, dtype=torch.float64)] * 2
    grads = torch.autograd.grad((3.0 * p * q).sum(), [p, q], create_graph=True)
    assert [each.item() for each in curvature.estimated([p, q], grads, z)] == [3.0, 3.0]


def test_the_graph_is_freed_by_a_step_and_nothing_else_is_kept():
    p = weight(3)
    optimizer = built([p])
    gc.disable()
    try:
        inner = p.exp()
        watched = weakref.ref(inner)
        loss = inner.square().sum()
        optimizer.backward(loss)
        optimizer.step()
        del inner, loss
        assert watched() is None
    finally:
        gc.enable()
    assert p.grad is not None
    assert not p.grad.requires_grad
    assert sorted(optimizer.state[p]) == ["exp_avg", "exp_hessian_diag_sq", "step"]


def test_gradients_of_two_losses_add_up():
    p, q = weight(3), weight(3)
    apart, once = built([p]), built([q])
    for _ in range(2):
        apart.backward(p.pow(3).sum())
        apart.backward(p.pow(4).sum())
        once.backward((q.pow(3) + q.pow(4)).sum())
        for optimizer in (apart, once):
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(p, q, rtol=1e-13, atol=0.0)


def test_torchs_own_backward_does_as_well():
    p, q = weight(3), weight(3)
    ours, theirs = built([p]), built([q])
    for _ in range(2):
        ours.backward(p.pow(3).sum())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the cycle, which a step breaks
            q.pow(3).sum().backward(create_graph=True)
        for optimizer in (ours, theirs):
            optimizer.step()
            optimizer.zero_grad()
    assert torch.equal(p, q)


def test_gradients_without_a_graph_are_refused_and_nothing_moves():
    p = weight(3)
    before = p.detach().clone()
    optimizer = built([p])
    p.square().sum().backward()
    sentence = (
        "got gradients without a graph; compute them by optimizer.backward(loss) or "
        "loss.backward(create_graph=True)"
    )
    refused(optimizer.step, sentence)
    assert torch.equal(p, before)
    assert not optimizer.state


def test_a_second_step_along_the_same_gradients_is_refused():
    p = weight(3)
    optimizer = built([p])
    optimizer.backward(p.pow(3).sum())
    optimizer.step()
    with pytest.raises(RuntimeError, match="got gradients without a graph"):
        optimizer.step()


def test_a_constant_gradient_beside_others_has_no_curvature():
    p, q = weight(3), weight(2)
    optimizer = built([p, q], eps=1.0, lr=0.5)
    before = q.detach().clone()
    optimizer.backward(p.pow(3).sum() + q.sum())
    optimizer.step()
    torch.testing.assert_close(q.detach(), before - 0.5)


def test_grad_scaler_is_refused_and_the_next_step_without_it_is_not():
    p = weight(3, dtype=torch.float32)
    optimizer, scaler = built([p]), torch.amp.GradScaler("cpu")
    optimizer.backward(scaler.scale(p.pow(3).sum()))
    refused(
        lambda: scaler.step(optimizer),
        "which GradScaler does not undo; train in bfloat16 or float32 without it",
    )
    optimizer.zero_grad()
    optimizer.backward(p.pow(3).sum())
    optimizer.step()


def test_a_step_inside_a_backward_pass_is_refused():
    p = weight(3)
    optimizer = built([p])
    p.register_post_accumulate_grad_hook(lambda _: optimizer.step())

    def train():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            p.pow(3).sum().backward(create_graph=True)

    refused(train, "so it cannot step inside a backward pass; step after it")


def test_a_compiled_step_is_refused():
    p = weight(3)
    optimizer = built([p])
    optimizer.backward(p.pow(3).sum())
    torch._dynamo.reset()
    step = torch.compile(lambda: type(optimizer).step(optimizer), backend="eager", fullgraph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(
            torch._dynamo.exc.Unsupported, match=f"{AGAIN}which compiled code cannot"
        ):
            step()
    torch._dynamo.reset()


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    refused(built([weight(3)]).step, "each process those of its own batch; train in one process")


def test_a_graph_cannot_capture_it():
    with pytest.raises(
        ValueError, match=f"^{AGAIN}which no CUDA graph captures; leave capturable=True off$"
    ):
        built([weight(3)], capturable=True)


def test_fused_attention_is_refused_and_the_plain_one_is_not():
    p = weight(1, 2, 8, 4)
    optimizer = built([p])
    optimizer.backward(scaled_dot_product_attention(p, p, p, is_causal=True).square().sum())
    with pytest.raises(
        RuntimeError, match=f"^{AGAIN}which this model does not allow .*MATH.*model$"
    ):
        optimizer.step()
    optimizer.zero_grad()
    with sdpa_kernel(SDPBackend.MATH):
        optimizer.backward(scaled_dot_product_attention(p, p, p, is_causal=True).square().sum())
    optimizer.step()


def test_replicas_are_not_stepped_together():
    sentence = (
        "^replicas step together by a rule of this package alone, got 'adahessian', whose own "
        "step does more; give each replica an optimizer of its own$"
    )
    with pytest.raises(ValueError, match=sentence):
        Stacked("adahessian", [torch.nn.Parameter(torch.ones(2, 3))], [{}, {}])


@pytest.mark.parametrize(
    ("shape", "blocks", "length"),
    [
        ((6,), (0, 0, 0, 0), 1),
        ((4, 3), (0, 0, 0, 0), 3),
        ((2, 4, 3), (0, 0, 0, 0), 3),
        ((2, 4, 3, 5), (0, 0, 0, 0), 15),
        ((2, 4, 3, 5), (1, 1, 1, 0), 15),
        ((4, 3), (1, 6, 1, 1), 6),
        ((), (0, 0, 0, 0), 1),
        ((2, 2, 2, 2, 2), (4, 4, 4, 4), 1),
        ((0, 3), (1, 0, 1, 1), 3),
    ],
)
def test_a_block_is_a_row_a_kernel_or_as_long_as_it_says(shape, blocks, length):
    assert curvature.length(shape, blocks) == length


def test_blocks_that_do_not_fill_a_tensor_are_refused_at_once():
    sentence = (
        r"^block_sizes\[0\] must divide the elements of every tensor of 1 dimensions, got 4 and "
        r"shape \(6,\); use 0 or 1$"
    )
    optimizer = built([weight(4)], block_sizes=(4, 1, 1, 1))
    with pytest.raises(ValueError, match=sentence):
        optimizer.add_param_group({"params": [weight(6)]})
    assert len(optimizer.param_groups) == len(optimizer.tensors) == 1


@pytest.mark.parametrize(
    ("hyper", "sentence"),
    [
        ({"hessian_power": 1.5}, r"^hessian_power must be in \[0, 1\], got 1.5$"),
        ({"block_sizes": (1, 1)}, r"^block_sizes must be 4 numbers, got \(1, 1\)$"),
        (
            {"block_sizes": (1, 1, 1, -1)},
            r"^block_sizes\[3\] must be a whole number of at least 0, got -1$",
        ),
    ],
    ids=["power", "few", "negative"],
)
def test_what_is_out_of_range_is_refused(hyper, sentence):
    with pytest.raises(ValueError, match=sentence):
        built([weight(4)], **hyper)
