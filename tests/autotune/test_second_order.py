"""Optimizers that differentiate gradients once more, in training, in searches and in benchmarks."""

import copy

import pytest
import torch
from click.testing import CliRunner

from autotune.cli import main
from autotune.engines import from_spec
from autotune.errors import SpecError
from autotune.tasks.resolve import resolve
from autotune.testing.trials import setting_of
from autotune.training.loading import build
from autotune.training.loop import train
from autotune.training.side_by_side import Member, loss_curves
from autotune.training.steps import Segment

NAME = "adahessian"


def segment(start, stop, target=12):
    evaluate = frozenset({target})
    return Segment(start=start, stop=stop, target=target, warmup=0.2, evaluate=evaluate, every=1)


@pytest.mark.parametrize(("name", "ahead"), [("mlp", False), ("mlp", True), ("gpt-pico", False)])
def test_a_model_is_trained_also_through_its_attention(name, ahead):
    task = resolve(name, steps=40)
    run, optimizer = build(task, NAME, {"lr": 0.05, "backend": "torch"}, 1)
    points = [*train(run, optimizer, segment(0, 40, 40), ahead=ahead)]
    assert points[-1].train_loss < points[0].train_loss
    assert points[-1].loss is not None


def test_a_run_that_is_resumed_ends_where_one_without_a_pause_does():
    task = resolve("mlp", steps=12, batch_size=4)
    hyper = {"lr": 0.03, "backend": "torch"}
    whole, straight = build(task, NAME, hyper, 1)
    [*train(whole, straight, segment(0, 12))]
    run, first = build(task, NAME, hyper, 1)
    [*train(run, first, segment(0, 5))]
    again, second = build(task, NAME, hyper, 1)
    again.model.load_state_dict(run.model.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    torch.manual_seed(99)  # the probes follow the step, not chance
    [*train(again, second, segment(5, 12))]
    for p, q in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(p, q)


def test_the_engine_that_trains_trials_as_one_refuses_it():
    task = resolve("mlp", steps=12)
    from_spec.check("batched", task, ["adamw", "adan"])
    from_spec.check("inline", task, ["adamw", NAME])
    sentence = (
        "^engine 'batched' steps many replicas by a rule of this package alone, got "
        "adahessian-win, whose own step does more; run it on the engine 'processes'$"
    )
    with pytest.raises(SpecError, match=sentence):
        from_spec.check("batched", task, ["adamw", "adahessian-win"])


def test_a_search_on_that_engine_is_refused_before_anything_is_stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = "search --model mlp --optimizer adahessian --engine batched --trials 2 --steps 9"
    done = CliRunner().invoke(main, asked.split())
    assert done.exit_code == 2
    assert "got adahessian, whose own step does more" in done.stderr
    assert not [*tmp_path.glob("**/*.db")]


def test_curves_of_several_runs_are_made_one_after_another():
    task = resolve("mlp", steps=6, batch_size=4)
    hyper = {"lr": 0.03, "backend": "torch"}
    members = [Member(setting=setting_of(hyper=hyper), seed=seed) for seed in (1, 2)]
    together = loss_curves(task, NAME, members, [3, 6])
    [alone] = loss_curves(task, NAME, members[1:], [3, 6])
    assert together[1].tolist() == alone.tolist()
    assert together[0].tolist() != alone.tolist()


def test_a_benchmark_of_steps_says_why_it_is_absent():
    asked = "bench step --device cpu --shapes small --no-first-steps --against none --backend torch"
    done = CliRunner().invoke(main, [*asked.split(), "--optimizer", NAME])
    assert done.exit_code == 2
    assert (
        "optimizer 'adahessian' differentiates gradients once more, which tensors filled with "
        "noise do not allow; leave it out, or time it in training"
    ) in " ".join(done.stderr.split())
