"""A user's code ends in ways that are not exceptions of the usual kind."""

from __future__ import annotations

import pytest

from autotune.errors import Abort, SpecError
from autotune.search.opening import prepare
from autotune.studies.spec import parse
from autotune.testing.habits import ended, job, search
from autotune.training.job import Outcome
from autotune.training.runner import perform

ENDS = """
class Own(BaseException):
    pass


def call(make):
    def mine(seed):
        def loss(model, batch):
            make()

        return problem(seed, loss)

    return mine


def throw(error):
    raise error


exits = call(lambda: sys.exit("bad data"))
quits = call(lambda: sys.exit(3))
keys = call(lambda: throw(KeyboardInterrupt("pressed")))
generators = call(lambda: throw(GeneratorExit("closed")))
own = call(lambda: throw(Own("of my own")))
stops = call(lambda: next(iter([])))
leaves = call(lambda: os._exit(3))
calmly = call(lambda: os._exit(0))
aborts = call(lambda: os.abort())


def measures(seed):
    return problem(seed, accuracy=lambda model, batch: sys.exit("no labels"))


def builds(seed):
    sys.exit("no model")
"""


@pytest.fixture(scope="module")
def engine(quick):
    engine = quick(workers=1)
    yield engine
    engine.close()


TEXTS = {
    "exits": "SystemExit: bad data (mine.py:",
    "quits": "SystemExit: 3 (mine.py:",
    "keys": "KeyboardInterrupt: pressed (mine.py:",
    "generators": "GeneratorExit: closed (mine.py:",
    "own": "Own: of my own (mine.py:",
    "stops": "StopIteration: no message (mine.py:",
    "measures": "SystemExit: no labels (mine.py:",
    "builds": "raised SystemExit: no model",
}


@pytest.mark.parametrize("function", ["exits", "keys", "builds"])
def test_a_trial_fails_with_the_text_of_its_exit(engine, write, function):
    (report,) = ended(engine, job(write(ENDS), function))
    assert report.outcome is Outcome.FAILED
    assert TEXTS[function] in report.reason


@pytest.mark.parametrize("function", TEXTS)
def test_so_it_does_in_this_process(write, function, monkeypatch):
    # As in the command, whose own handler takes Ctrl-C.
    monkeypatch.setattr("signal.getsignal", lambda number: None)
    *_, report = perform(job(write(ENDS), function), lambda: False)
    assert report.outcome is Outcome.FAILED
    assert TEXTS[function] in report.reason


@pytest.mark.parametrize(
    ("trial", "function", "cause"),
    [(1, "leaves", "exit code 3"), (2, "calmly", "exit code 0"), (3, "aborts", "SIGABRT")],
)
def test_a_worker_that_dies_is_told_of_by_its_end(engine, write, trial, function, cause):
    (report,) = ended(engine, job(write(ENDS), function, trial=trial))
    assert (report.outcome, report.reason) == (Outcome.LOST, f"its worker died ({cause})")
    assert report.blame  # else the trial would be tried for ever


def test_an_exit_at_once_in_a_rehearsal_is_told_of(write):
    path = write(ENDS)
    asked = {"model": f"{path}:calmly", "optimizers": ["adamw"], "budget": {"trials": 1}}
    with pytest.raises(SpecError, match=r"the loss of .* raised SystemExit: os\._exit\(0\)"):
        prepare(parse({**asked, "steps": 27}))


def test_an_import_that_exits_fails_its_trial(engine, write):
    path = write('sys.exit("bad settings")')
    (report,) = ended(engine, job(path))
    assert report.outcome is Outcome.FAILED
    assert "SystemExit: bad settings (mine.py:" in report.reason


def test_a_dropped_job_is_not_a_failed_one(write):
    reports = perform(job(write(""), "problem", stop=1000, evaluate=range(1, 1000)), lambda: False)
    reports.close()
    assert list(reports) == []


def test_what_ends_the_process_is_no_result_of_a_trial(write):
    def ending():
        raise Abort

    with pytest.raises(Abort):
        list(perform(job(write(""), "problem"), ending))


def test_a_search_in_one_process_tells_why_it_found_nothing(write, forked):
    process = forked(*search(write(ENDS), "exits", "--engine", "inline"))
    told = process.communicate(timeout=60)[1]
    assert process.returncode not in {0, 130}
    assert "SystemExit: bad data" in told
