import doctest

import pytest

from autotune import optimizers

TAUGHT = ["LAMB", "SGD", "Adam", "AdamW", "Adan", "Stacked", "create", "names", "split"]


@pytest.mark.parametrize("name", TAUGHT)
def test_the_example_of_a_public_name_runs(name):
    [example] = doctest.DocTestFinder(recurse=False).find(getattr(optimizers, name), name)
    ran = doctest.DocTestRunner().run(example)
    assert ran.failed == 0
    assert ran.attempted >= 2
