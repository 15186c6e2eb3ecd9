"""What the tests of several folders need."""

import os

import pytest


@pytest.fixture
def postgres() -> str:
    """The URL of a PostgreSQL database for tests; a skip is a failure where CI is set."""
    given = os.environ.get("AUTOTUNE_TEST_POSTGRES")
    if not given and os.environ.get("CI"):
        pytest.fail("AUTOTUNE_TEST_POSTGRES must name a PostgreSQL database where CI is set")
    if not given:
        pytest.skip("needs PostgreSQL: set AUTOTUNE_TEST_POSTGRES, as .ci/run does")
    from autotune.studies import urls  # a GPU machine that runs tests/gpu may lack SQLAlchemy

    return urls.normalise(given)
