import doctest

from autotune.optimizers import adan


def test_the_example_of_adan_runs():
    ran = doctest.testmod(adan)
    assert (ran.failed, ran.attempted) == (0, 6)
