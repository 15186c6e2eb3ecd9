"""What is suggested for a name that nobody knows."""

import pytest

from autotune.studies.names import suggestion

KNOWN = ["median", "optuna:MedianPruner", "asha"]


@pytest.mark.parametrize(
    ("word", "suggested"),
    [("medain", "median"), ("Pruner", "optuna:MedianPruner"), ("sgd", None)],
)
def test_a_name_with_the_word_in_it_is_suggested_before_one_that_is_close(word, suggested):
    assert suggestion(word, KNOWN) == (f"; did you mean '{suggested}'?" if suggested else "")
