"""Errors of a GPU: one that spoils its process is no setting's fault, and memory may be others'."""

from __future__ import annotations

from contextlib import closing

import pytest

from autotune.engines.gpus import MEMORY
from autotune.engines.processes import Processes
from autotune.testing.habits import job, over
from autotune.training.job import Outcome

ERRORS = """
FOLDER = os.path.dirname(__file__)


def attempts():  # how many processes have tried
    with open(os.path.join(FOLDER, "log"), "a+") as file:
        print(os.getpid(), file=file, flush=True)
        file.seek(0)
        return len(set(file.readlines()))


def raising(error, when):
    def mine(seed):
        steps, attempt = [], attempts()

        def loss(model, batch):
            steps.append(1)
            if when(attempt, len(steps)):
                raise error
            return mean_square(model, batch)

        return problem(seed, loss)

    return mine


spoilt = torch.AcceleratorError("CUDA error: device-side assert triggered")
cublas = RuntimeError("CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling cublasSgemm")
missing = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
once = raising(spoilt, lambda attempt, step: attempt == 1)
once_in_a_library = raising(cublas, lambda attempt, step: attempt == 1)
always = raising(spoilt, lambda attempt, step: True)
moving = raising(spoilt, lambda attempt, step: step == (4 if attempt == 1 else 1))
beside_a_trial = raising(missing, lambda attempt, step: attempt == 1)


def held(own, free):
    torch.accelerator.is_available = lambda: True
    torch.accelerator.get_memory_info = lambda: (free << 30, 24 << 30)
    torch.accelerator.memory_reserved = lambda: own << 30
    torch.accelerator.max_memory_allocated = lambda: own << 30


def beside_others(seed):
    held(own=2, free=1)
    return raising(missing, lambda attempt, step: step == 5 and attempt == 1)(seed)


def growing(seed):
    held(own=22, free=1)
    return raising(missing, lambda attempt, step: step == 5)(seed)


def too_large(seed):
    held(own=22, free=1)
    return raising(missing, lambda attempt, step: True)(seed)
"""


@pytest.fixture(scope="module")
def engine(quick):
    engine = quick(workers=1)
    yield engine
    engine.close()


@pytest.fixture
def path(write):
    return write(ERRORS)


def workers(path):
    """Return the processes that tried, in order."""
    return list(dict.fromkeys((path.parent / "log").read_text().split()))


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("once", "AcceleratorError: CUDA error: device-side assert triggered"),
        ("once_in_a_library", "RuntimeError: CUDA error: CUBLAS_STATUS_INTERNAL_ERROR"),
    ],
)
def test_a_trial_that_spoils_its_worker_is_run_again_in_a_new_one(engine, path, function, why):
    engine.submit(job(path, function))
    report = over(engine)
    assert report.outcome is Outcome.REACHED
    assert report.reason.startswith(
        f"run again in a new worker, as it failed in an older one: {why}"
    )
    assert len(workers(path)) == 2


def test_a_trial_that_spoils_two_workers_at_the_same_step_has_failed(engine, path):
    engine.submit(job(path, "always"))
    report = over(engine)
    assert report.outcome is Outcome.FAILED
    assert report.reason.startswith("AcceleratorError: CUDA error: device-side assert triggered")
    assert len(workers(path)) == 2
    engine.submit(job(path, "problem"))
    assert over(engine).outcome is Outcome.REACHED


def test_a_trial_that_spoils_two_workers_at_different_steps_is_lost(engine, path):
    engine.submit(job(path, "moving", evaluate=(1, 2, 3, 9)))
    report = over(engine)
    assert (report.outcome, report.step, report.blame) == (Outcome.LOST, 0, True)


def test_a_trial_without_memory_beside_other_programs_is_tried_once_more(engine, path):
    engine.submit(job(path, "beside_others"))
    report = over(engine)
    assert report.outcome is Outcome.REACHED
    assert "failed in an older one: out of memory after step" in report.reason
    assert len(workers(path)) == 2


def test_a_trial_that_has_a_gpu_to_itself_and_too_little_has_diverged(engine, path):
    engine.submit(job(path, "growing", evaluate=(1, 9)))
    report = over(engine)
    assert (report.outcome, report.reason) == (Outcome.DIVERGED, "out of memory after step 1")
    assert report.misfit is None


def test_a_model_that_no_setting_fits_is_told_with_bytes_and_a_way_out(engine, path):
    engine.submit(job(path, "too_large"))
    assert over(engine).misfit == (
        f"{path}:too_large with adamw does not fit into the 24 GiB of this GPU at any setting: it "
        "had 22 GiB and needed 20.00 MiB more, before its first measurement; give a smaller "
        "--batch-size or model, a larger GPU, or --device cpu"
    )


def test_a_trial_that_shares_a_gpu_and_has_too_little_gets_all_of_it_once(
    quick, path, monkeypatch, tmp_path
):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    shares, start = [], Processes._start

    def started(engine, place, **how):
        worker = start(engine, place, **how)
        shares.append(worker.place.share)
        return worker

    monkeypatch.setattr(Processes, "_start", started)
    with closing(quick(workers=1, gpus=["0"], per_gpu=2)) as engine:
        engine.submit(job(path, "beside_a_trial"))
        report = over(engine)
        assert report.outcome is Outcome.REACHED
        assert "failed in an older one: out of memory" in report.reason
        engine.submit(job(path, "problem"))
        assert over(engine).outcome is Outcome.REACHED
    assert shares == [MEMORY / 2, MEMORY, MEMORY / 2]
