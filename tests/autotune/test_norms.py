"""Norms of gradients: those of each step, read without changing a run, over pauses and batches."""

import math

import numpy as np
import pytest
import torch

from autotune.engines import measuring
from autotune.engines.batched import Batched
from autotune.engines.inline import Inline
from autotune.errors import SpecError
from autotune.optimizers import create
from autotune.search.coordinator import run
from autotune.studies import gradients
from autotune.studies.records import Role, TrialState
from autotune.studies.spec import differences, parse
from autotune.studies.store import Store
from autotune.tasks.resolve import resolve
from autotune.testing.loops import Parabola
from autotune.testing.trials import nested
from autotune.training import checkpoint
from autotune.training.job import Job, Outcome
from autotune.training.norms import Norms, norms_of

TASK = {"model": "mlp", "data": None, "steps": 9, "batch_size": 8}


@pytest.fixture(autouse=True)
def every_state_is_saved(monkeypatch):
    monkeypatch.setattr(checkpoint, "BYTES_PER_SECOND", 1e15)


def job(folder, trial=1, **changes):
    fields = {
        "trial": trial, "attempt": 1, "task": TASK, "optimizer": "adan",
        "hyper": {"lr": 0.01, "weight_decay": 0.02, "betas": (0.9, 0.9, 0.99)},
        "warmup": 0.1, "seed": trial, "start": 0, "stop": 9, "target": 9,
        "evaluate": (3, 9), "checkpoint": str(folder / f"{trial}.pt"), "norms": True, **changes,
    }  # fmt: skip
    return Job(**nested(**fields))


def ended(engine, *jobs):
    """Return all reports of jobs by trial, when each is over."""
    found = {each.trial: [] for each in jobs}
    for each in jobs:
        engine.submit(each)
    while any(not all_ or all_[-1].outcome is Outcome.PROGRESS for all_ in found.values()):
        for report in engine.reports(60.0):
            found[report.trial].append(report)
    return found


def told(reports):
    return [one for report in reports for one in report.gradients]


def losses(reports):
    return [(p.step, p.train_loss, p.loss) for report in reports for p in report.points]


def test_norms_are_over_all_parameters_and_taken_before_the_optimizer_changes_gradients():
    weights = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.SGD(weights, lr=0.1)
    norms = Norms(optimizer, start=4)
    weights[0].grad, weights[1].grad = torch.tensor([3.0, -4.0]), torch.tensor([12.0])
    optimizer.step()
    weights[0].grad.fill_(math.inf)
    optimizer.step()
    first, second = norms.read()
    assert (first.step, first.l1, first.l2) == (5, 19.0, 13.0)
    assert (second.step, second.l1, second.l2) == (6, None, None)
    assert norms.read() == ()


def test_norms_of_half_precision_are_summed_in_single():
    ones = torch.full((4, 512), 1.0, dtype=torch.bfloat16)
    assert norms_of([ones, ones]).tolist() == pytest.approx([4096.0, 64.0], rel=1e-6)


def test_norms_are_without_the_scale_that_a_scaler_leaves_to_the_step():
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = create("adamw", [weight], lr=0.1)
    norms = Norms(optimizer)
    weight.grad = torch.tensor([3.0, -4.0]) * 1024
    optimizer.grad_scale = torch.tensor(1024.0)
    optimizer.step()
    [first] = norms.read()
    assert (first.l1, first.l2) == (7.0, 5.0)


def test_recording_leaves_a_run_as_it_is_and_goes_on_over_a_pause(tmp_path):
    engine = Inline()
    plain = ended(engine, job(tmp_path, norms=False))[1]
    whole = ended(engine, job(tmp_path))[1]
    first = ended(engine, job(tmp_path, trial=2, seed=1, stop=3))[2]
    resumed = job(tmp_path, trial=2, seed=1, start=3, checksum=first[-1].checksum)
    second = ended(engine, resumed)[2]
    engine.close()
    assert losses(whole) == losses(plain)
    assert told(plain) == []
    assert [one.step for one in told(whole)] == list(range(1, 10))
    assert told(first) + told(second) == told(whole)


def test_norms_of_a_batch_are_those_of_each_run_alone(tmp_path):
    together = Batched(workers=4)
    jobs = [job(tmp_path, trial) for trial in (1, 2, 3)]
    batched = ended(together, *jobs)
    plain = ended(together, *[job(tmp_path, trial, norms=False) for trial in (1, 2, 3)])
    together.close()
    alone = Inline()
    single = ended(alone, *jobs[:1])[1]
    alone.close()
    assert {k: losses(v) for k, v in batched.items()} == {k: losses(v) for k, v in plain.items()}
    pairs = [[(one.step, one.l1, one.l2) for one in told(each)] for each in (batched[1], single)]
    assert len(pairs[0]) == 9
    np.testing.assert_allclose(*pairs, rtol=1e-4)


def test_a_search_keeps_the_norms_of_each_step_of_its_trials(tmp_path, task_file):
    spec = parse({
        "model": f"{task_file}:problem", "optimizers": ["adan"], "engine": "inline", "steps": 9,
        "budget": {"trials": 3}, "seeds": 2, "finalists": 1, "record_norms": True, "name": "s",
    })  # fmt: skip
    with Store(f"sqlite:///{tmp_path}/a.db") as store:
        run(spec, store=store)
        (study,) = store.search("s").studies
        trials = store.trials(study.id)
        kept = {trial.id: gradients.of(store, trial.id) for trial in trials}
    assert {trial.role for trial in trials} >= {Role.SEARCH, Role.JUDGE}
    for trial in trials:
        assert [one.step for one in kept[trial.id]] == list(range(1, trial.step + 1))
        assert all(one.l1 >= one.l2 > 0 for one in kept[trial.id])
    assert any(trial.state is TrialState.COMPLETE for trial in trials)


def test_whether_norms_are_kept_is_no_part_of_what_a_search_is():
    plain, recording = parse({"model": "mlp"}), parse({"model": "mlp", "record_norms": True})
    assert differences(plain, recording) == []
    assert plain.record_norms is False


def test_a_loop_of_ones_own_is_told_that_nobody_sees_its_gradients():
    spec = parse({"model": "parabola", "record_norms": True})
    sentence = (
        r"^record_norms needs a task whose steps are taken here, but model 'parabola' is a loop of "
        r"its own, whose gradients nobody sees; leave it out, or give a function that returns a "
        r"Problem$"
    )
    with pytest.raises(SpecError, match=sentence):
        measuring.check(spec, Parabola(), "inline")
    measuring.check(parse({"model": "parabola"}), Parabola(), "inline")


def test_norms_of_steps_that_may_be_left_out_are_refused():
    spec = parse({"model": "mlp", "record_norms": True, "precision": "fp16"})
    with pytest.raises(SpecError, match=r"^record_norms needs gradients of every step, and precis"):
        measuring.check(spec, resolve("mlp"), "inline")


def test_a_loop_that_asks_for_its_trials_is_told_so_too():
    sentence = r"^record_norms needs trials that autotune trains, but a script's own loop asks for "
    with pytest.raises(SpecError, match=sentence):
        parse({"model": "mine", "engine": "ask", "record_norms": True})
