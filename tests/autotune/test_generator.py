"""A user's own loop as a generator: what it has of its process, how it is asked and closed."""

import random
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch

import autotune
from autotune.errors import SpecError
from autotune.tasks import chance
from autotune.tasks.base import BadMeasurement
from autotune.tasks.generator import measured_of
from autotune.tasks.resolve import resolve
from autotune.testing.trials import setting_of
from autotune.training import paused
from autotune.training.building import Builder
from autotune.training.job import Job, Outcome
from autotune.training.loading import forget
from autotune.training.runner import perform

STEPS = 12
RUNGS = (3, 6, 12)
HEAD = """
import random
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

import autotune


@contextmanager
def default(dtype):
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(torch.float32)


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))


def loss(model):
    x = torch.randn(16, 4) * (1 + random.random()) + float(np.random.rand())
    return (model(x) - x.sum(1, keepdim=True)).square().mean()
"""
# As a script has it: nothing of the search's but the optimizer.
ALONE = """
def train(optimizer, seed, steps):
    model = network(seed)
    opt, schedule = optimizer(model)
    for step in range(1, steps + 1):
        value = loss(model)
        value.backward()
        opt.step(), schedule.step(), opt.zero_grad()
        {around}
            yield step, value
"""


NOTE = """

def note(start):
    with open("log", "a") as file:
        file.write(f"{start} ")
"""


@pytest.fixture(autouse=True)
def fresh():
    forget()
    yield
    paused.close_all()
    forget()


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file and returns the text that names its function."""

    def write(text, function="train"):
        path = tmp_path / "mine.py"
        path.write_text(HEAD + textwrap.dedent(text))
        return f"{path}:{function}"

    return write


def job(model, trial=1, **changes):
    fields = {
        "trial": trial, "attempt": 1, "optimizer": "adamw",
        "task": {"model": model, "data": None, "steps": STEPS, "batch_size": None},
        "setting": setting_of(hyper={"lr": 0.01}), "seed": 3, "start": 0, "stop": STEPS,
        "target": STEPS, "evaluate": RUNGS,
    }  # fmt: skip
    return Job(**fields | changes)


def performed(job, interrupted=lambda: False, **how):
    reports = list(perform(job, interrupted, "one", **how))
    return replace(reports[-1], points=sum((report.points for report in reports), ()))


def losses(report):
    return {point.step: point.loss for point in report.points}


def alone(write, around="if True:"):
    """Return the curve of a generator that nothing else runs beside."""
    return losses(performed(job(write(ALONE.format(around=around)))))


def modes():
    """Return what a loop may leave behind in its process."""
    return {
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "depth": torch.autocast_increment_nesting() + torch.autocast_decrement_nesting(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "anomaly": torch.is_anomaly_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "functions": len(torch.overrides._get_current_function_mode_stack()),
    }


LEFT = (
    "with torch.no_grad():",
    "with torch.inference_mode():",
    "with torch.autocast('cpu', torch.bfloat16):",
    "with torch.device('meta'):",
    "with torch.enable_grad(), torch.autograd.set_detect_anomaly(True):",
    "with default(torch.float64):",
    "torch.set_default_device('cpu')\n        if True:",
)


def test_a_curve_is_that_of_a_plain_loop_over_the_generator(write):
    space = {}
    exec(HEAD + ALONE.format(around="if True:"), space)
    chance.sow("training", 3)
    plain = space["train"](Builder("adamw", {"lr": 0.01}, 0.1, STEPS), 3, STEPS)
    assert alone(write) == {step: float(value.detach()) for step, value in plain}


RESUMED = """
def train(optimizer, seed, steps, start=0):
    model = network(seed)
    opt, schedule = optimizer(model)
    note(start)
    for step in range(start + 1, steps + 1):
        value = loss(model)
        value.backward()
        opt.step(), schedule.step(), opt.zero_grad()
        if step % 2 == 0:
            yield step, value
"""


@pytest.fixture
def lasting(monkeypatch, tmp_path):
    """Save what is paused, however quickly it is trained again; work where nothing else is."""
    monkeypatch.setattr("autotune.training.checkpoint.BYTES_PER_SECOND", 1e18)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_that_takes_start_goes_on_from_a_file_bit_for_bit(write, lasting):
    model = write(RESUMED + NOTE)
    whole = performed(job(model, 2))
    path = lasting / "state" / "1.pt"
    first = performed(job(model, stop=3, checkpoint=str(path)), keep=False)
    assert (first.step, first.saved, first.kept) == (3, True, False)
    torch.rand(5), random.random(), np.random.rand()
    again = {"start": 3, "attempt": 2, "resume": str(path), "checksum": first.checksum}
    rest = performed(job(model, **again), keep=False)
    assert rest.outcome is Outcome.REACHED
    assert (lasting / "log").read_text().split() == ["0", "0", "4"]  # it was measured at step 4
    assert losses(first) | losses(rest) == losses(whole)
    assert rest.points[-1].seconds > first.points[-1].seconds


def test_a_state_that_is_not_there_is_told_of_and_steps_are_repeated(write, lasting):
    model = write(RESUMED + NOTE)
    report = performed(job(model, start=3, resume=str(lasting / "gone.pt")), keep=False)
    assert report.outcome is Outcome.REACHED
    assert report.reason == (
        "its checkpoint gone.pt is not on this machine, so steps 1 to 3 were repeated"
    )
    (lasting / "gone.pt").write_bytes(b"no state")
    assert (
        "is damaged or another"
        in performed(job(model, start=3, resume=str(lasting / "gone.pt")), keep=False).reason
    )


@pytest.mark.parametrize(
    "text",
    [ALONE.format(around="if True:"), "def train(start):\n    yield 3, 1.0\n    yield 12, 1.0"],
)
def test_one_that_does_not_take_start_or_builds_nothing_is_not_saved(write, lasting, text):
    path = lasting / "1.pt"
    assert not performed(job(write(text), stop=3, checkpoint=str(path)), keep=False).saved
    assert not path.exists()


@pytest.mark.parametrize("around", LEFT)
def test_two_that_take_turns_have_the_curves_they_have_alone(write, around):
    model, before = write(ALONE.format(around=around)), modes()
    whole = losses(performed(job(model)))
    for stop, start in ((3, 0), (6, 3), (12, 6)):
        first = losses(performed(job(model, 1, start=start, stop=stop)))
        second = losses(performed(job(model, 2, seed=4, start=start, stop=stop)))
        assert first == {step: whole[step] for step in range(start + 1, stop + 1)}
        assert second.keys() == first.keys()
        assert second != first
        torch.rand(2), random.random(), np.random.rand()  # chance of ours in between
    assert modes() == before


def test_what_it_sets_of_torch_holds_for_it_alone(write):
    text = """
    def state():
        return (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision())

    def train(steps):
        usual = state()
        assert usual[1:] == (False, False, "highest")
        torch.set_num_threads(usual[0] + 1)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("medium")
        for step in range(1, steps + 1):
            assert state() == (usual[0] + 1, True, True, "medium")
            yield step, 1.0
    """
    model, before = write(text), modes()
    for start, stop in ((0, 3), (3, 12)):
        for trial in (1, 2):
            report = performed(job(model, trial, start=start, stop=stop))
            assert report.outcome is Outcome.REACHED, report.reason
            assert modes() == before


def test_a_yield_within_no_grad_stops_nobody_elses_gradients(write):
    model = write(ALONE.format(around="with torch.no_grad():"))
    performed(job(model, stop=3))
    assert torch.is_grad_enabled()
    assert losses(performed(job(model, 2))) == alone(write)


def test_weights_cast_under_autocast_are_those_of_each_step(write):
    text = """
    def train(optimizer, seed, steps):
        model = network(seed)
        opt, schedule = optimizer(model)
        for step in range(1, steps + 1):
            with torch.autocast("cpu", torch.bfloat16):
                value = loss(model)
            value.float().backward()
            opt.step(), schedule.step(), opt.zero_grad()
            yield step, value
    """
    whole = losses(performed(job(write(text))))
    paused_within = write(ALONE.format(around="with torch.autocast('cpu', torch.bfloat16):"))
    performed(job(paused_within, 2, stop=3))
    assert losses(performed(job(write(text)))) == whole


def test_chance_that_nobody_seeds_follows_the_seed_of_the_trial(write):
    model = write(
        """
        def train(steps):
            for step in range(1, steps + 1):
                yield step, torch.rand(()) + random.random() + np.random.rand()
        """
    )
    first, other = losses(performed(job(model))), losses(performed(job(model, 2, seed=4)))
    torch.rand(1)
    assert losses(performed(job(model, 3))) == first != other


def test_the_arguments_that_it_takes_are_given_by_name(write):
    model = write(
        """
        def train(*, optimizer, evaluate, setting, device, seed, steps, word="own"):
            assert (optimizer.name, optimizer.hyper) == ("adamw", {"lr": 0.01})
            assert optimizer.warmup == 0.1
            assert setting == {"lr": 0.01, "warmup": 0.1}
            assert (device, seed, steps, word) == (torch.device("cpu"), 3, 12, "own")
            for step in evaluate:
                yield step, 1.0
        """
    )
    assert losses(performed(job(model))) == dict.fromkeys(RUNGS, 1.0)


def test_its_optimizer_and_schedule_are_those_of_every_other_task(write):
    model = write(
        """
        def train(optimizer, steps):
            model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
            opt, schedule = optimizer(model)
            assert [len(group["params"]) for group in opt.param_groups] == [1, 3]
            rates = []
            for step in range(steps):
                rates.append(opt.param_groups[0]["lr"])
                opt.step(), schedule.step()
            yield steps, autotune.Measurement(loss=rates[0], accuracy=rates[6])
        """
    )
    from autotune.training.lr_schedule import multiplier

    setting = setting_of(hyper={"lr": 0.1, "weight_decay": 0.5}, warmup=0.25)
    [*_, point] = performed(job(model, setting=setting)).points
    assert point.loss == pytest.approx(0.1 * multiplier(0, STEPS, 0.25))
    assert point.accuracy == pytest.approx(0.1 * multiplier(6, STEPS, 0.25))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("'abc'", "train yielded 'abc'; yield step, loss, or yield step, autotune.Measurement("),
        ("None", "train yielded None; yield step, loss"),
        ("0.5", "train yielded 0.5; yield step, loss"),
        ("torch.ones(3)", "train yielded a tensor of shape (3,); yield step, loss"),
        ("(1, 2, 3)", "train yielded (1, 2, 3); yield step, loss"),
        ("(1, 'abc')", "train yielded 'abc' as a loss; it is a number or a tensor of one number"),
        ("(1, None)", "train yielded None as a loss"),
        ("(1, torch.ones(2))", "train yielded a tensor of shape (2,) as a loss"),
        ("(1, autotune.Measurement(loss=1.0, accuracy='x'))", "train yielded 'x' as an accuracy"),
        ("(1, autotune.Measurement(loss=1.0, accuracy=93.0))", "accuracy at step 1 was 93, which"),
        ("(1.5, 1.0)", "train yielded 1.5 as a step; a step is a whole number"),
        ("(True, 1.0)", "train yielded True as a step"),
        ("(0, 1.0)", "measured step 0; steps count from 1, the first step taken"),
        ("(13, 1.0)", "measured step 13, past its last: a run has 12 steps"),
    ],
)
def test_a_value_that_is_no_measurement_is_told_in_a_sentence(write, value, sentence):
    report = performed(job(write(f"def train():\n    yield {value}")))
    assert report.outcome is Outcome.FAILED
    assert report.reason.startswith(sentence)


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ("(3, 2, 12)", "measured step 2 after step 3; steps must increase"),
        ("(3, 3, 12)", "measured step 3 after step 3; steps must increase"),
        ("(3, 13)", "measured step 13, past its last: a run has 12 steps, and the last"),
        ("(3, 6)", "ended after its measurement at step 6; the last measurement must be at step 1"),
        ("()", "ended without a measurement; the last measurement must be at step 12"),
    ],
)
def test_steps_that_are_no_run_are_told_in_a_sentence(write, steps, sentence):
    report = performed(job(write(f"def train():\n    for s in {steps}:\n        yield s, 1.0")))
    assert report.outcome is Outcome.FAILED
    assert report.reason.startswith(sentence)


def test_numbers_of_other_libraries_and_tensors_of_one_number_are_numbers():
    assert measured_of((torch.tensor(3), torch.tensor([0.5])), "train").step == 3
    assert measured_of([np.int64(3), np.float32(0.5)], "train").measurement.loss == 0.5
    with pytest.raises(BadMeasurement):
        measured_of((torch.tensor(3.0), 0.5), "train")


def test_a_loss_that_is_no_number_is_divergence(write):
    report = performed(job(write("def train():\n    yield 5, float('nan')")))
    assert (report.outcome, report.reason) == (
        Outcome.DIVERGED,
        "validation loss became nan at step 5",
    )


CLOSED = """
def train(steps):
    try:
        for step in range(1, steps + 1):
            yield step, 1.0
    {how}
"""


def test_what_it_does_at_its_end_is_done_when_it_is_closed(write, tmp_path):
    over = str(tmp_path / "over")
    text = CLOSED.format(
        how=f"finally:\n        with open({over!r}, 'a') as f:\n            f.write('x')"
    )
    performed(job(write(text)))
    assert (tmp_path / "over").read_text() == "x"
    performed(job(write(text), 2, stop=3))
    assert (tmp_path / "over").read_text() == "x"
    paused.close_all()
    assert (tmp_path / "over").read_text() == "xx"


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("finally:\n        1 / 0", "train raised ZeroDivisionError: division by zero when it was"),
        ("except GeneratorExit:\n        yield 99, 1.0", "train went on when it was closed: it"),
    ],
)
def test_a_run_that_ends_badly_keeps_what_it_measured(write, how, sentence):
    report = performed(job(write(CLOSED.format(how=how))))
    assert (report.outcome, report.step) == (Outcome.REACHED, STEPS)
    assert losses(report)[STEPS] == 1.0
    assert report.reason.startswith(sentence)


def test_one_that_cannot_be_closed_spoils_nothing_where_it_is_dropped(write, capsys):
    text = """
    def train(steps):
        step = 0
        while True:
            try:
                step += 1
                yield step, 1.0
            except GeneratorExit:
                pass
    """
    report = performed(job(write(text)))
    assert report.outcome is Outcome.REACHED
    assert "catches GeneratorExit" in report.reason
    performed(job(write(text), 2, stop=3))
    paused.close_all()
    assert "catches GeneratorExit" in capsys.readouterr().err


def test_one_that_is_already_asked_to_stop_is_asked_for_nothing(write):
    model = write("def train():\n    raise OSError('it began')\n    yield 12, 1.0")
    report = performed(job(model), interrupted=lambda: True)
    assert (report.outcome, report.step, report.reason) == (Outcome.INTERRUPTED, 0, None)


def test_what_the_code_raises_is_told_with_its_line(write):
    report = performed(job(write("def train():\n    yield 3, 1.0\n    raise OSError('no disk')")))
    assert (report.outcome, report.step) == (Outcome.FAILED, 3)
    assert report.reason.startswith("OSError: no disk (mine.py:")


@pytest.mark.parametrize(
    ("signature", "sentence"),
    [
        ("optimiser", "needs 'optimiser', which is not given; did you mean 'optimizer'? it may"),
        ("batch", "needs 'batch', which is not given; it may take the keyword arguments opt"),
    ],
)
def test_an_argument_that_nobody_gives_is_refused(write, signature, sentence):
    with pytest.raises(SpecError, match=sentence.replace("?", r"\?")):
        resolve(write(f"def train({signature}):\n    yield 1, 1.0"))


def test_a_loop_that_no_setting_reaches_is_refused(write):
    with pytest.raises(SpecError, match="neither optimizer nor setting, so all its trials would"):
        resolve(write("def train(steps, seed):\n    yield 1, 1.0"))


def test_a_loop_that_yields_nothing_is_told_apart_from_a_model(write):
    with pytest.raises(SpecError, match="takes an optimizer, as a training loop does, but yields"):
        resolve(write("def train(optimizer, steps): ..."))


def test_settings_of_other_tasks_are_refused(write):
    model = write("def train():\n    yield 1, 1.0")
    for given in ({"data": "digits"}, {"batch_size": 8}):
        with pytest.raises(SpecError, match="trains with its own batches, as it yields; drop"):
            resolve(model, **given)
    with pytest.raises(SpecError, match="is an async generator; write it without async"):
        resolve(write("async def train():\n    yield 1, 1.0"))


def test_what_is_wrapped_or_partial_is_a_loop_too(write):
    text = """
    import functools

    def noted(function):
        @functools.wraps(function)
        def run(*args, **named):
            return function(*args, **named)
        return run

    @noted
    def train(optimizer, steps):
        yield steps, 1.0

    part = functools.partial(train, steps=12)

    class Loop:
        def __call__(self, steps):
            yield steps, 1.0

    loop = Loop()
    """
    for function in ("train", "part", "loop"):
        assert performed(job(write(text, function))).outcome is Outcome.REACHED


def test_where_the_file_puts_its_process_holds_for_the_loop_alone(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    model = write(
        """
        import os
        os.chdir("data")
        os.environ["OWN"] = "1"

        def train(steps):
            for step in range(1, steps + 1):
                assert os.path.basename(os.getcwd()) == ("data" if step < 4 else "data2")
                assert os.environ["OWN"] == "1"
                if step == 3:
                    os.mkdir("data2")
                    os.chdir("data2")
                yield step, 1.0
        """
    )
    for start, stop in ((0, 3), (3, 12)):
        report = performed(job(model, start=start, stop=stop))
        assert report.outcome is Outcome.REACHED, report.reason
        assert autotune.tasks.surroundings._directory() == str(tmp_path)
