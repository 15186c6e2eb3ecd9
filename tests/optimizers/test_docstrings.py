"""Class docstrings tell every argument, as the constructor has it."""

import ast
import inspect
import re
import subprocess
import sys

import pytest

from autotune.optimizers import RuleOptimizer, Stacked, names
from autotune.optimizers.arguments import TEXTS, documented
from autotune.optimizers.registry import resolve

CLASSES = [*dict.fromkeys(resolve(name)[0] for name in names()), Stacked]


def section(cls, title):
    """Return a section's entries, by what stands before their colon."""
    found = re.search(rf"^{title}:\n((?:    .*\n|\n)+)", inspect.getdoc(cls) + "\n", re.MULTILINE)
    entries = re.findall(r"^    (\w+): ((?:.*\n|     .*\n)*?)(?=    \w|\n|\Z)", found[1], re.M)
    return {name: " ".join(text.split()) for name, text in entries}


@pytest.mark.parametrize("cls", CLASSES)
def test_every_argument_is_told_in_the_constructors_order(cls):
    assert list(section(cls, "Args")) == list(inspect.signature(cls).parameters)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_default_is_told_as_the_constructor_has_it(cls):
    told = {
        name: ast.literal_eval(text.rpartition("Default: ")[2].removesuffix("."))
        for name, text in section(cls, "Args").items()
        if "Default: " in text
    }
    parameters = inspect.signature(cls).parameters.values()
    own = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    assert told == own


@pytest.mark.parametrize("cls", CLASSES)
def test_what_a_constructor_raises_is_told(cls):
    assert set(section(cls, "Raises")) == {"TypeError", "ValueError", "ImportError"}


@pytest.mark.parametrize("cls", CLASSES)
def test_the_source_is_told(cls):
    assert re.search(r"^Sources:\n    \w", inspect.getdoc(cls), re.MULTILINE)


@pytest.mark.parametrize("cls", CLASSES)
def test_no_place_is_left_for_a_text(cls):
    assert not re.search(r"^ *\{\w*\}$", cls.__doc__, re.MULTILINE)
    assert max(map(len, cls.__doc__.splitlines())) <= 100


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_is_used(name):
    first = TEXTS[name].splitlines()[0]
    assert any(first in cls.__doc__ for cls in CLASSES)


def test_a_text_that_nobody_wrote_is_an_error():
    class Own(RuleOptimizer):
        """Step.

        {betsa}
        """

    with pytest.raises(KeyError, match="betsa"):
        documented(Own)


def test_without_docstrings_optimizers_step():
    code = """
import torch
from autotune.optimizers import Adan, create
p = torch.nn.Parameter(torch.ones(2))
p.grad = torch.ones(2)
for optimizer in (Adan([p], backend="torch"), create("adamw-win2", [p], backend="torch")):
    optimizer.step()
print(Adan.__doc__, bool(p.isfinite().all()))
"""
    command = [sys.executable, "-P", "-OO", "-c", code]
    run = subprocess.run(command, capture_output=True, check=False, text=True)
    assert run.stdout == "None True\n", run.stderr
