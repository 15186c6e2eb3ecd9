"""What makes a function given to ``tune`` another one: what it does, not how it is written."""

import textwrap
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FunctionType, SimpleNamespace

import numpy as np
import pytest
import torch

from autotune.tasks.fingerprint import fingerprint

CODE = """
    import torch

    WIDTH = 8
    RATES = {"a": [1, 2]}
    calls = 0

    def helper(x):
        return x + 1

    class Net(torch.nn.Module):
        depth = 2

        def forward(self, x):
            return helper(x)

    def make(seed, scale=1.0):
        '''Say something.'''
        global calls
        calls += 1
        inner = lambda: Net()
        return inner, WIDTH, RATES, scale
"""


def made(tmp_path, old="", new=""):
    """Return ``make`` from a file of its own in which a text was replaced."""
    text = textwrap.dedent(CODE)
    assert old in text
    path = tmp_path / f"code{len(list(tmp_path.iterdir()))}.py"
    path.write_text(text.replace(old, new, 1) if old else text)
    scope = {"__name__": "cell"}
    exec(compile(path.read_text(), str(path), "exec"), scope)
    return scope["make"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WIDTH = 8", "WIDTH = 9"),
        ("[1, 2]", "[1, 3]"),
        ("return x + 1", "return x + 2"),
        ("depth = 2", "depth = 3"),
        ("return helper(x)", "return helper(x) * 2"),
        ("scale=1.0", "scale=2.0"),
        ("inner = lambda: Net()", "inner = lambda: helper(1)"),
    ],
)
def test_what_a_function_uses_changes_its_fingerprint(tmp_path, old, new):
    one, other = made(tmp_path), made(tmp_path, old, new)
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("calls = 0", "calls = 5"),
        ("Say something.", "Say something else."),
        ("calls += 1", "calls += 1  # counted"),
    ],
    ids=["again", "its own counter", "docstring", "comment"],
)
def test_what_does_not_change_what_it_does_leaves_it(tmp_path, old, new):
    one, other = made(tmp_path), made(tmp_path, old, new)
    assert fingerprint(one) == fingerprint(other)


@dataclass
class Config:
    width: int


def over(value):
    return lambda: value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (torch.zeros(3), torch.ones(3)),
        (torch.zeros(3), torch.zeros(3, 1)),
        (torch.zeros(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bfloat16)),
        (np.zeros(3), np.ones(3)),
        ([torch.tensor(1.0)], [torch.tensor(2.0)]),
        ({1, 2}, {1, 3}),
        (Path("a"), Path("b")),
        (SimpleNamespace(width=1), SimpleNamespace(width=2)),
        (Config(1), Config(2)),
    ],
    ids=[
        *("number", "tensor", "shape", "bfloat16", "array", "within a list", "set", "path"),
        *("namespace", "dataclass"),
    ],
)
def test_what_a_function_closes_over_changes_its_fingerprint(one, other):
    assert fingerprint(over(one)) != fingerprint(over(other))
    assert fingerprint(over(one)) == fingerprint(over(one))


def test_a_lambda_is_told_from_another_on_the_same_line():
    one, other = (lambda: 1, lambda: 2)
    assert fingerprint(one) != fingerprint(other)


def test_the_order_in_which_a_set_iterates_does_not_count():
    # Of texts it is another in every process.
    one, other = frozenset([0, 8]), frozenset([8, 0])
    assert list(one) != list(other)
    function = lambda x: x in {0, 8}  # noqa: E731
    codes = [function.__code__.replace(co_consts=(None, held)) for held in (one, other)]
    made = [FunctionType(code, {"__name__": "cell"}, "<lambda>") for code in codes]
    assert fingerprint(made[0]) == fingerprint(made[1])
    assert fingerprint(over({0, 8})) == fingerprint(over({8, 0}))


def test_arguments_of_a_partial_and_state_of_a_callable_s_class_count():
    assert fingerprint(partial(over, 1)) != fingerprint(partial(over, 2))


def test_a_function_that_calls_itself_has_a_fingerprint():
    def again(n):
        return again(n - 1) if n else 0

    assert len(fingerprint(again)) == 64


def test_a_function_typed_at_a_prompt_has_no_text_and_still_a_fingerprint():
    def typed(text):
        scope = {"__name__": "cell"}
        exec(text, scope)
        return scope["f"]

    assert fingerprint(typed("def f(): return 1")) == fingerprint(typed("def f(): return 1"))
    assert fingerprint(typed("def f(): return 1")) != fingerprint(typed("def f(): return 2"))
