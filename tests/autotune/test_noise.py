"""Gradient noise: the right numbers, an unchanged run, and what is shown, exported and restated."""

import json
import re
import shutil

import pytest
import torch
from click.testing import CliRunner

from autotune.cli import main
from autotune.engines import measuring
from autotune.engines.inline import Inline
from autotune.errors import SpecError
from autotune.export.stored import rendered
from autotune.optimizers import create
from autotune.results.noise import GradientNoise, of_runs
from autotune.search.coordinator import run
from autotune.search.diagnosis import diagnosis
from autotune.studies import gradients
from autotune.studies.records import Gradient, Role
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.tasks.resolve import resolve
from autotune.testing.loops import Parabola
from autotune.testing.trials import nested
from autotune.training.batch_size import Noise, of_micro_batches, of_samples, of_two_sizes
from autotune.training.job import Job, Outcome
from autotune.training.noise import BATCHES, PLACES, NoiseMeter, places
from autotune.transfer.targets import Target

NOISY = """
import torch
from autotune import Problem


def problem(seed):
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 4, generator=draw)
    targets = inputs.sum(1, keepdim=True) + torch.randn(96, 1, generator=draw)
    torch.manual_seed(seed)
    return Problem(
        model=torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5),
            torch.nn.Linear(8, 1),
        ),
        train=list(zip(inputs[:80].split(8), targets[:80].split(8))),
        validation=[(inputs[80:], targets[80:])],
        loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
    )


def streamed(seed):
    import dataclasses
    made = problem(0)
    return dataclasses.replace(problem(seed), train=lambda seed: iter(made.train), identity="x")


def few(seed):
    import dataclasses
    made = problem(seed)
    return dataclasses.replace(made, train=made.train[:2])
"""


@pytest.fixture
def noisy(tmp_path):
    path = tmp_path / "noisy.py"
    path.write_text(NOISY)
    return path


def test_two_sizes_give_the_noise_of_samples_without_bias():
    draw = torch.Generator().manual_seed(1)
    samples = 2.0 + torch.randn(64, 8, 5, generator=draw, dtype=torch.float64)
    means = samples.mean(dim=1)
    mean = means.mean(dim=0)
    small, large = float(means.square().sum(1).mean()), float(mean.square().sum())
    found = of_two_sizes((8, small), (512, large))
    assert found.variance == pytest.approx(of_micro_batches([means], 8).variance)
    assert found.square == pytest.approx(large - found.variance / 512)
    assert found.variance == pytest.approx(of_samples([samples.flatten(0, 1)]).variance, rel=0.2)
    with pytest.raises(
        ValueError, match=r"^sizes must be above 0, the smaller first, got 8 and 8$"
    ):
        of_two_sizes((8, 1.0), (8, 1.0))


def test_a_meter_measures_at_its_steps_and_leaves_gradients_alone():
    weight = torch.nn.Parameter(torch.tensor([3.0]))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    asked = []

    def elsewhere(step, count):
        asked.append((step, count))
        for slope in (1.0, 5.0):
            yield slope * weight.sum()

    meter = NoiseMeter(optimizer, elsewhere, batch=4, at=(1,))
    for _ in range(3):
        weight.grad = torch.tensor([3.0])
        optimizer.step()
        assert weight.grad.tolist() == [3.0]
    (found,) = meter.read()
    # squared norms 9, 1 and 25 of batches of 4, and 9 of their mean, a batch of 12
    right = of_two_sizes((4, 35 / 3), (12, 9.0))
    assert (found.step, found.variance) == (2, pytest.approx(right.variance))
    assert found.square == pytest.approx(right.square)
    assert asked == [(1, BATCHES - 1)]
    assert meter.read() == ()


def test_a_meter_undoes_the_scale_that_a_step_finds_its_gradients_in():
    def measured(scaler):
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        optimizer = create("adamw", model.parameters(), backend="torch")
        optimizer._step_supports_amp_scaling = True  # as where Triton steps
        batches = torch.randn(4, 8, 4)

        def elsewhere(step, count):
            for batch in batches[1:]:
                yield model(batch).square().mean()

        meter = NoiseMeter(optimizer, elsewhere, batch=8, at=(0,))
        scaler.scale(model(batches[0]).square().mean()).backward()
        scaler.step(optimizer)
        return meter.read()[0]

    plain, scaled = (measured(torch.amp.GradScaler("cpu", enabled=on)) for on in (False, True))
    assert scaled.variance == pytest.approx(plain.variance, rel=1e-5)
    assert scaled.square == pytest.approx(plain.square, rel=1e-5)


def job(file, function="problem", **changes):
    task = {"model": f"{file}:{function}", "data": None, "steps": 30, "batch_size": None}
    fields = {
        "trial": 1, "attempt": 1, "task": task, "optimizer": "adamw", "hyper": {"lr": 0.01},
        "warmup": 0.1, "seed": 3, "start": 0, "stop": 30, "target": 30, "evaluate": (9, 30),
        **changes,
    }  # fmt: skip
    return Job(**nested(**fields))


def trained(one):
    engine, reports = Inline(), []
    engine.submit(one)
    while not reports or reports[-1].outcome is Outcome.PROGRESS:
        reports += engine.reports(60.0)
    engine.close()
    assert reports[-1].outcome is Outcome.REACHED
    curve = [(p.step, p.train_loss, p.loss) for report in reports for p in report.points]
    return curve, [one for report in reports for one in report.gradients], reports[-1]


@pytest.mark.parametrize("function", ["problem", "streamed"])
def test_measuring_changes_neither_losses_nor_chance_nor_statistics(noisy, function):
    plain, nothing, _ = trained(job(noisy, function))
    measured, found, _ = trained(job(noisy, function, noise=places(30), norms=True))
    assert measured == plain
    assert nothing == []
    assert [one.step for one in found] == list(range(1, 31))
    taken = [one for one in found if one.variance is not None]
    assert [one.step for one in taken] == [step + 1 for step in places(30)]
    assert len(taken) == PLACES
    assert all(one.variance > 0 and one.l1 > 0 for one in taken)


def test_an_optimizer_that_differentiates_twice_goes_on_where_noise_was_measured(noisy):
    plain, _, _ = trained(job(noisy, optimizer="adahessian"))
    measured, found, _ = trained(job(noisy, optimizer="adahessian", noise=places(30)))
    assert (measured, len(found)) == (plain, PLACES)


def test_other_batches_leave_buffers_modes_and_chance_as_they_were(noisy):
    own = resolve(f"{noisy}:problem", None, 30, None).start(0)
    own.model.train()
    own.loss(0)
    before = [buffer.clone() for buffer in own.model.buffers()]
    chance = torch.random.get_rng_state()
    assert len({float(loss.detach()) for loss in own.elsewhere(0, 4)}) == 4
    assert all(map(torch.equal, before, own.model.buffers()))
    assert torch.equal(chance, torch.random.get_rng_state())
    assert own.model.training


def test_batches_that_come_again_are_taken_once(noisy):
    task = resolve(f"{noisy}:few", None, 30, None)
    own = task.start(0)
    assert len(list(own.elsewhere(0, BATCHES - 1))) == 1


def test_a_task_without_other_batches_is_trained_and_says_what_is_missing(noisy, monkeypatch):
    monkeypatch.delattr("autotune.tasks.training.Training.elsewhere")
    _, found, last = trained(job(noisy, noise=places(30)))
    assert found == []
    assert last.reason == ("its gradient noise was not measured: the task gives no other batch")


def test_the_parts_are_averaged_before_their_ratio():
    def at(step, variance, square):
        return Gradient(step=step, variance=variance, square=square)

    found = of_runs({
        1: [Gradient(step=1, l1=1.0, l2=1.0), at(2, 10.0, 4.0), at(9, 30.0, -1.0)],
        2: [at(2, 20.0, 6.0), at(9, 20.0, 1.0)],
        3: [Gradient(step=1, l1=1.0, l2=1.0), Gradient(step=2)],
    })  # fmt: skip
    assert (found.variance, found.square, found.scale) == (20.0, 2.5, 8.0)
    assert (found.places, found.runs, found.early, found.late) == (4, 2, 3.0, None)
    assert of_runs({1: [Gradient(step=1, l1=1.0)]}) is None


def known(variance, square, **more):
    return GradientNoise(
        variance=variance, square=square, places=10, runs=2, early=1.0, late=2.0, **more
    )


@pytest.mark.parametrize(
    ("noise", "sentence"),
    [
        (
            known(800.0, 1.0),
            "adan: gradient noise scale 800 samples, 1.0000 early and 2.0000 late (measured at 10 "
            "steps of 2 judging runs); batch 64 is dominated by noise: up to that a larger one "
            "trains in fewer steps; the norm test (eta 0.5) asks for batch 3200",
        ),
        (
            known(12.0, 1.0),
            "adan: gradient noise scale 12 samples, 1.0000 early and 2.0000 late (measured at 10 "
            "steps of 2 judging runs); batch 64 is beyond it: a smaller one would train in hardly "
            "more steps; the norm test (eta 0.5) is content with batch 64",
        ),
        (
            known(12.0, -1.0),
            "adan: noise hides the gradient's mean (measured at 10 steps of 2 judging runs): the "
            "noise scale lies beyond what batches of 64 can tell; a larger batch trains in fewer "
            "steps",
        ),
    ],
)
def test_the_diagnosis_is_one_line(noise, sentence):
    assert diagnosis("adan", noise, 64) == sentence


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A finished search that measures noise."""
    folder = tmp_path_factory.mktemp("noise")
    (folder / "noisy.py").write_text(NOISY)
    spec = parse({
        "model": f"{folder}/noisy.py:problem", "optimizers": ["adamw"], "budget": {"trials": 2},
        "seeds": 2, "finalists": 1, "steps": 9, "engine": "inline", "workers": 1,
        "measure_noise": True, "name": "s",
    })  # fmt: skip
    with Store(f"sqlite:///{folder}/autotune.db") as store:
        run(spec, store=store)
    return folder / "autotune.db"


def test_a_search_measures_its_judging_runs_and_shows_what_follows(searched):
    url = f"sqlite:///{searched}"
    with Store(url) as store:
        (study,) = store.search("s").studies
        found = {t.id: (t.role, gradients.of(store, t.id)) for t in store.trials(study.id)}
    assert {role for role, those in found.values() if those} == {Role.JUDGE}
    shown = CliRunner().invoke(main, ["show", "s", "--storage", url]).stdout
    assert re.search(r"diagnosis\nadamw: (gradient noise scale|noise hides) .*judging run", shown)
    told = json.loads(CliRunner().invoke(main, ["show", "s", "--json", "--storage", url]).stdout)
    assert told["noise"]["adamw"]["measured"]["places"] >= PLACES


def test_an_export_for_a_larger_batch_stops_at_the_measured_scale_and_says_so(searched, tmp_path):
    shutil.copy(searched, tmp_path / "autotune.db")
    url = f"sqlite:///{tmp_path}/autotune.db"
    with Store(url) as store:  # a scale of 16 samples, at a batch of 8
        (study,) = store.search("s").studies
        for trial in store.trials(study.id, Role.JUDGE):
            with store.writing() as connection:
                gradients.drop(connection, [trial.id])
                gradients.add(connection, trial.id, [Gradient(step=1, variance=32.0, square=2.0)])
    given = {"which": "tuned", "number": None, "target": Target(batch=800), "rules": ["batch"]}
    text = rendered(url, "s/adamw", "json", **given).text
    data = json.loads(text)
    (change,) = [one for one in data["changes"] if one["name"] == "lr"]
    assert change["new"] == pytest.approx(change["old"] * 2**0.5)
    assert data["target"]["noise_scale"] == 16.0
    header = rendered(url, "s/adamw", "yaml", **given).text
    runs = re.search(r"measured at \d+ steps of \d+ judging runs?", header)[0]
    assert (
        f"# noise scale: 16 samples, beyond which rule batch raises lr no further; {runs}; "
        "McCandlish et al. 2018 (arXiv:1812.06162)\n"
    ) in header
    words = ["export", "s/adamw", "--as", "json", "--top", "1", "--target-batch", "800"]
    best = json.loads(CliRunner().invoke(main, [*words, "--storage", url]).stdout)
    assert best["settings"][0]["target"]["noise_scale"] == 16.0
    by_hand = {**given, "target": Target(batch=800, noise_scale=32)}
    told = json.loads(rendered(url, "s/adamw", "json", **by_hand).text)
    assert told["target"]["noise_origin"] == "given by hand"
    (change,) = [one for one in told["changes"] if one["name"] == "lr"]
    assert change["new"] == pytest.approx(change["old"] * 2)
    # Without a batch nothing is said of it.
    longer = {**given, "target": Target(steps="2x")}
    assert (
        "noise_scale" not in json.loads(rendered(url, "s/adamw", "json", **longer).text)["target"]
    )


def refused(sentence, task, engine, **spec):
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        measuring.check(parse({"model": "mlp", "measure_noise": True, **spec}), task, engine)


def test_noise_that_cannot_be_measured_is_refused(noisy):
    refused(
        "measure_noise needs a task whose steps are taken here, but model 'parabola' is a loop of "
        "its own, whose gradients nobody sees; leave it out, or give a function that returns a "
        "Problem",
        Parabola(),
        "inline",
    )
    task = resolve("mlp", None, 9, 8)
    refused(
        "measure_noise needs an engine that trains each run alone, got 'batched'; go on with it on "
        "the engine 'processes'",
        task,
        "batched",
    )
    measuring.check(parse({"model": "mlp", "measure_noise": True}), task, "inline")


def test_noise_without_a_mean_has_no_finite_scale():
    assert Noise(variance=1.0, square=-0.1).scale == float("inf")
