"""The user's own ``file.py:function``: what it may return, and how its mistakes read."""

import math
import sys
import textwrap

import pytest
import torch

from autotune.errors import SpecError, UnknownName
from autotune.tasks import problem
from autotune.tasks.function import Function
from autotune.tasks.resolve import resolve

NET = """
    import torch
    from torch import nn

    def net(classes, seed):
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 32 * 32, classes))
"""
LINE = """
    import torch
    from torch import nn
    import autotune

    def loss(model, batch):
        x, y = batch
        return (model(x) - y).square().mean()

    def line():
        batches = []
        for i in range(5):
            x = torch.randn(8, 3)
            batches.append((x, x.sum(1, keepdim=True) + i))
        return autotune.Problem(
            model=nn.Linear(3, 1), train=batches[:4], validation=batches[4:], loss=loss
        )
"""


@pytest.fixture
def write(tmp_path):
    def written(text, name="net.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    return written


def _refusal(model, **arguments):
    with pytest.raises(SpecError) as refused:
        resolve(model, **arguments)
    return str(refused.value)


def test_a_module_is_trained_on_two_digits(write):
    path = write(NET)
    task = resolve(f"{path}:net")
    facts = task.facts()
    assert (task.name, facts["model"], facts["data"]) == ("net-net", f"{path}:net", "digits-pair")
    assert facts["parameters"] == 3 * 32 * 32 * 100 + 100
    assert math.isfinite(task.start(0).evaluate().loss)


def test_dropout_follows_seed_and_step(write):
    task = resolve(f"{write(NET)}:net", batch_size=4)
    one, other = task.start(1), task.start(1)
    one.loss(0)
    assert one.loss(3) == other.loss(3)


def test_outputs_with_logits_are_accepted(write):
    path = write("""
        from types import SimpleNamespace
        from torch import nn

        class Net(nn.Module):
            def __init__(self, classes):
                super().__init__()
                self.head = nn.Linear(3072, classes)

            def forward(self, images):
                return SimpleNamespace(logits=self.head(images.flatten(1)))
    """)
    assert math.isfinite(resolve(f"{path}:Net").start(0).loss(0).item())


def test_a_problem_brings_batches_and_loss(write):
    path = write(LINE)
    task = resolve(f"{path}:line", steps=9)
    assert (task.steps, task.batch_size) == (9, 8)
    facts = task.facts()
    assert (facts["data"], facts["validation_size"], facts["parameters"]) == (f"{path}:line", 8, 4)
    measured = task.start(0).evaluate()
    assert math.isfinite(measured.loss)
    assert measured.accuracy is None


def test_a_problems_batches_come_once_an_epoch_in_an_order_of_the_seed(write):
    task = resolve(f"{write(LINE)}:line")
    run, again = task.start(2), task.start(2)
    losses = [run.loss(step).item() for step in range(8)]
    assert len(set(losses[:4])) == 4
    assert sorted(losses[:4]) == sorted(losses[4:])
    assert [again.loss(step).item() for step in range(8)] == losses


def test_an_endless_generator_is_read_no_further_than_a_run_needs(write):
    path = write("""
        import itertools
        import torch
        import autotune

        def endless():
            train = (torch.full((2, 1), float(i)) for i in itertools.count())
            return autotune.Problem(
                model=torch.nn.Linear(1, 1), train=train, validation=[torch.ones(2, 1)],
                loss=lambda model, x: model(x).square().mean(),
                accuracy=lambda model, x: 0.5,
            )
    """)
    run = resolve(f"{path}:endless", steps=3).start(0)
    assert len({run.loss(step).item() for step in range(3)}) == 3
    assert run.evaluate().accuracy == 0.5


def test_a_module_beside_the_file_can_be_imported(write):
    write("WIDTH = 3072", "beside_the_net.py")
    path = write("""
        from torch import nn
        import beside_the_net

        def net(classes):
            return nn.Sequential(nn.Flatten(), nn.Linear(beside_the_net.WIDTH, classes))
    """)
    before = list(sys.path)
    assert resolve(f"{path}:net").name == "net-net"
    assert sys.path == before


def test_a_decorator_may_ask_for_more_than_what_it_decorates(write):
    path = write(
        LINE
        + """
    import functools

    def seeded(function):
        @functools.wraps(function)
        def from_seed(seed):
            torch.manual_seed(seed)
            return function()
        return from_seed

    def told(function):
        @functools.wraps(function)
        def passed(*given, **named):
            assert not given and set(named) == {"seed"}
            return function(**named)
        return passed

    mine = seeded(line)
    twice = told(seeded(line))
    kept = functools.cache(seeded(line))
    """
    )
    for name in ("mine", "twice", "kept"):
        model = resolve(f"{path}:{name}").start(3).model
        torch.manual_seed(3)
        for _ in range(5):
            torch.randn(8, 3)
        assert torch.equal(model.weight, torch.nn.Linear(3, 1).weight), name


LOADER = """
    import torch
    import autotune

    def loader(seed):
        x = torch.arange(1.0, 9.0).reshape(4, 2)
        batches = [{"x": row, "labels": row.sum() / 2, "more": [row.clone()]} for row in x]
        def loss(model, batch):
            CHANGE
            return (model(batch["x"]).sum() - labels).square()
        return autotune.Problem(
            model=torch.nn.Linear(2, 1), train=batches[:2], validation=batches[2:], loss=loss,
            accuracy=lambda model, batch: float(batch["labels"] < 0),
        )
"""
PLAIN = 'labels = batch["labels"]; batch = {"x": batch["x"] / 2}'


@pytest.mark.parametrize(
    "change",
    [
        'labels = batch.pop("labels"); batch["x"] = batch["x"] / 2',
        'labels = batch["labels"].clone(); batch["x"].div_(2); batch["labels"].neg_()',
        'labels = batch.pop("labels"); batch["more"].pop().div_(2); batch["x"].mul_(0.5)',
    ],
    ids=["entries", "in place", "both"],
)
def test_what_a_loss_does_to_a_batch_is_gone_the_next_time(write, change):
    found = []
    for each in (PLAIN, change):
        run = resolve(f"{write(LOADER.replace('CHANGE', each))}:loader").start(1)
        losses = [run.loss(step).item() for step in range(6)]
        found.append((losses, run.evaluate(), run.evaluate()))
    assert found[0] == found[1]
    assert sorted(losses[:2]) == sorted(losses[2:4]) == sorted(losses[4:])


def test_an_edited_file_is_read_again(write):
    first = resolve(f"{write(LINE)}:line").facts()
    second = resolve(
        f"{write(LINE.replace('nn.Linear(3, 1)', 'nn.Linear(3, 1, bias=False)'))}:line"
    )
    assert second.facts()["parameters"] == first["parameters"] - 1
    assert second.facts()["data_hash"] != first["data_hash"]


def test_a_batch_larger_than_an_epoch_is_refused_of_a_users_module_too(write):
    assert _refusal(f"{write(NET)}:net", batch_size=5_000_000) == (
        "batch_size must be at most 1347, the training samples of data 'digits-pair', got 5000000"
    )


@pytest.mark.parametrize(
    "text",
    [
        LINE.replace("x, y = batch", "x, y = batch  # a pair"),
        LINE.replace("import torch\n", "import torch\n\n\n"),
        LINE.replace("def line():", 'def line():\n        """Return a line."""'),
        LINE.replace("range(5)", "range( 5 )").replace("(8, 3)", "(8,  3 )"),
    ],
    ids=["comment", "blank lines", "docstring", "layout"],
)
def test_words_for_people_alone_make_no_other_task(write, text):
    first = resolve(f"{write(LINE)}:line").facts()
    assert resolve(f"{write(text)}:line").facts() == first


@pytest.mark.parametrize(
    "change",
    [("+ i", "+ 2 * i"), ("x.sum(1", "x.sum(0"), ("batches[:4]", "batches[:3]"), ("8, 3", "3, 8")],
    ids=lambda change: change[1],
)
def test_code_that_does_something_else_is_another_task(write, change):
    first = Function(f"{write(LINE)}:line").sha256
    assert Function(f"{write(LINE.replace(*change))}:line").sha256 != first


def test_a_very_long_sum_has_a_hash(write):
    many = " + ".join(["1"] * 3000)
    one, other = (Function(f"{write(f'x = {many} + {last}')}:x").sha256 for last in (1, 2))
    assert one != other


def test_a_loss_of_nan_is_returned_as_it_is(write):
    path = write(LINE.replace(".mean()", ".mean() * float('nan')"))
    run = resolve(f"{path}:line").start(0)
    assert torch.isnan(run.loss(0))
    assert math.isnan(run.evaluate().loss)


def test_what_the_users_loss_raises_passes_through(write):
    path = write(LINE.replace("x, y = batch", "raise ArithmeticError('no luck')"))
    run = resolve(f"{path}:line").start(0)
    with pytest.raises(ArithmeticError, match="no luck"):
        run.loss(0)


def test_what_the_users_function_raises_for_one_seed_passes_through(write):
    task = resolve(f"{write(NET.replace('return', 'assert seed != 7; return'))}:net")
    with pytest.raises(AssertionError):
        task.start(7)


def test_a_loss_that_is_no_number_is_refused(write):
    path = write(LINE.replace(".mean()", ""))
    with pytest.raises(SpecError) as refused:
        resolve(f"{path}:line").start(0).loss(0)
    assert str(refused.value) == (
        f"the loss of {path}:line must be a tensor of one number, got shape (8, 1); return its mean"
    )


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("model(x).mean(), y", "tuple; return the loss alone"),
        ("{'loss': model(x).mean()}", "dict; return the loss alone"),
        ("type('Output', (), {'loss': model(x).mean()})()", "Output; return its .loss"),
        ("None", "None"),
    ],
)
def test_a_loss_with_something_beside_it_is_refused(write, mistake, told):
    path = write(LINE.replace("return (model(x) - y).square().mean()", f"return {mistake}"))
    with pytest.raises(SpecError) as refused:
        resolve(f"{path}:line").start(0).loss(0)
    assert str(refused.value) == (
        f"the loss of {path}:line must be a tensor of one number, got {told}"
    )


def test_a_missing_file_is_refused(tmp_path):
    path = tmp_path / "no.py"
    assert _refusal(f"{path}:net") == f"cannot read model file {path}: No such file or directory"


def test_a_missing_function_suggests(write):
    path = write(NET)
    with pytest.raises(UnknownName) as refused:
        resolve(f"{path}:nets")
    assert str(refused.value) == (
        "unknown function of net.py 'nets'; did you mean 'net'? (known: net)"
    )


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def net(:", "SyntaxError: invalid syntax (net.py, line 1)"),
    ],
    ids=["import", "raise", "exit", "syntax"],
)
def test_a_file_that_cannot_be_imported_says_why(write, text, cause):
    path = write(text)
    assert _refusal(f"{path}:net") == f"cannot import {path}: {cause}"


def test_a_function_that_raises_says_so_before_any_trial(write):
    path = write("def net():\n        raise KeyError('width')")
    assert _refusal(f"{path}:net") == f"{path}:net raised KeyError: 'width'"


def test_a_function_that_asks_for_more_is_refused(write):
    path = write("def net(classes, width): ...")
    assert _refusal(f"{path}:net") == (
        f"{path}:net needs 'width', which is not given; it may take the keyword arguments "
        "classes and seed, others need a default"
    )


@pytest.mark.parametrize(("value", "kind"), [("None", "None"), ("[1, 2]", "list")])
def test_a_wrong_return_is_refused(write, value, kind):
    path = write(f"def net():\n        return {value}")
    assert _refusal(f"{path}:net") == (
        f"{path}:net must return a torch module or an autotune.Problem, got {kind}"
    )


def test_an_argument_without_a_name_is_refused(write):
    path = write("def net(seed, /): ...")
    assert _refusal(f"{path}:net") == f"{path}:net must take 'seed' by name; take out its '/'"


def test_an_exception_that_cannot_tell_its_message_is_named(write):
    path = write("""
    class Mute(Exception):
        def __str__(self):
            raise ValueError("and this is not it")

    def net(seed):
        raise Mute
    """)
    assert _refusal(f"{path}:net") == f"{path}:net raised Mute"


def test_a_model_without_parameters_is_refused(write):
    path = write("def net():\n    import torch\n    return torch.nn.Flatten()")
    assert _refusal(f"{path}:net") == f"the model of {path}:net has no parameter to train"


def test_a_head_of_another_size_is_refused(write):
    path = write(NET.replace("32, classes)", "32, 10)"))
    assert _refusal(f"{path}:net") == (
        f"the model of {path}:net must return 100 logits an image for data 'digits-pair', "
        "got shape (2, 10) for 2 images; its function may take the keyword argument classes"
    )


def test_a_model_that_fails_on_images_is_refused(write):
    path = write(NET.replace("3 * 32", "5 * 32"))
    assert _refusal(f"{path}:net").startswith(
        f"the model of {path}:net fails on images of shape (2, 3, 32, 32): RuntimeError: mat1 and"
    )


def test_a_model_that_exits_on_images_is_refused(write):
    path = write(
        "import sys, torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__(3072, classes)\n"
        "    def forward(self, x):\n"
        "        sys.exit('gray images only')\n"
    )
    assert _refusal(f"{path}:Net") == (
        f"the model of {path}:Net fails on images of shape (2, 3, 32, 32): "
        "SystemExit: gray images only"
    )


def test_data_for_a_problem_is_refused(write):
    path = write(LINE)
    assert _refusal(f"{path}:line", batch_size=4) == (
        f"{path}:line returns a Problem, which brings its own batches; drop batch_size=4"
    )


def test_a_problem_without_batches_is_refused(write):
    path = write(LINE.replace("batches[:4]", "(b for b in [])"))
    assert _refusal(f"{path}:line") == (
        f"train of {path}:line yields no batch; a generator read before is empty, "
        "make a new one at each call"
    )


def test_endless_validation_is_refused(write, monkeypatch):
    monkeypatch.setattr(problem, "MOST_VALIDATION", 100)
    path = write(LINE.replace("batches[4:]", "__import__('itertools').cycle(batches)"))
    assert _refusal(f"{path}:line") == (
        f"validation of {path}:line must end within 100 batches; give a finite one"
    )
