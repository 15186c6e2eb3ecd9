"""A GPU whose memory is too small, pretended: what is told, once, and what stays as it was."""

import pytest
import torch

from autotune.errors import AutotuneError, SpecError
from autotune.search.coordinator import run
from autotune.studies.records import SearchState, TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.training import checkpoint
from autotune.training.memory import Shortage, shortage

GIB = 1 << 30
MISSING = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 24 GiB"

# The first look at a task takes no step, so what is raised in a step is raised in trials alone.
LARGE = """

def large(seed):
    made = problem(seed)

    def loss(model, batch):
        for name, error in ERRORS.items():
            if model.training and not known(batch, made) and (FOLDER / name).exists():
                raise error
        return made.loss(model, batch)

    return Problem(model=made.model, train=made.train, validation=made.validation, loss=loss)


from pathlib import Path

FOLDER = Path(__file__).parent
ERRORS = {
    "small": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    "broken": torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
}
"""


@pytest.fixture
def gpu(monkeypatch):
    """Pretend a GPU of 24 GiB, of which this process holds 20 and nothing is free."""

    def pretend(free=0, reserved=23 * GIB):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda: (free, 24 * GIB))
        monkeypatch.setattr(torch.accelerator, "memory_reserved", lambda: reserved)
        monkeypatch.setattr(torch.accelerator, "max_memory_allocated", lambda: 20 * GIB)

    return pretend


def test_memory_that_other_processes_hold_is_told_apart(gpu):
    gpu(free=GIB, reserved=10 * GIB)
    found = shortage(torch.OutOfMemoryError(MISSING))
    assert found == Shortage(own=20 * GIB, others=13 * GIB, total=24 * GIB, asked="20.00 MiB")
    assert found.crowded
    assert "24 GiB of this GPU, where others hold 13 GiB, at" in found.misfit("gpt2", "adan")


def test_contexts_and_libraries_are_no_other_processes(gpu):
    gpu(free=0, reserved=23 * GIB)
    assert not shortage(torch.OutOfMemoryError(MISSING)).crowded


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_memory_of_the_cpu_is_not_the_gpus(gpu, error):
    gpu()
    assert shortage(error) is None


def test_without_a_gpu_there_is_nothing_to_tell():
    assert shortage(torch.OutOfMemoryError(MISSING)) is None


@pytest.fixture
def search(task_file, tmp_path):
    task_file.write_text(task_file.read_text() + LARGE)
    (tmp_path / "small").touch()
    return parse(
        {
            "model": f"{task_file}:large",
            "optimizers": ["adamw"],
            "budget": {"trials": 2},
            "steps": 9,
            "engine": "inline",
        }
    )


def states(store):
    (study,) = store.search("large").studies
    return {trial.state for trial in store.trials(study.id)}


def test_a_gpu_too_small_for_the_model_ends_the_search_once_and_it_can_go_on(search, tmp_path, gpu):
    gpu()
    notices = []
    with Store(f"sqlite:///{tmp_path}/autotune.db") as store:
        with pytest.raises(
            SpecError, match=r"adamw does not fit into the 24 GiB of this GPU at any setting: .*"
        ):
            run(search, store=store, listen=notices.append)
        assert store.search("large").state is SearchState.INTERRUPTED
        assert states(store) == {TrialState.WAITING}
        (tmp_path / "small").unlink()  # as on a larger GPU
        run(search, store=store)
        assert store.search("large").state is SearchState.COMPLETE
        assert TrialState.DIVERGED not in states(store)


def test_an_engine_in_this_process_ends_with_its_gpu(search, tmp_path):
    (tmp_path / "small").rename(tmp_path / "broken")
    with Store(f"sqlite:///{tmp_path}/autotune.db") as store:
        with pytest.raises(
            AutotuneError,
            match=r"^the GPU reported an error after which this process cannot use it: "
            r"AcceleratorError: CUDA error: an illegal memory access .*; repeat the command to go "
            r"on, with --engine processes, which replaces such a worker by itself$",
        ):
            run(search, store=store)
        assert TrialState.FAILED not in states(store)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError(MISSING), True),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), True),
        (RuntimeError("size mismatch for weight"), False),
    ],
)
def test_a_checkpoint_is_not_taken_for_damaged_where_the_gpu_is_full(
    tmp_path, monkeypatch, error, told
):
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters())
    checkpoint.save(tmp_path / "1.pt", model, optimizer, 5, 7)

    def load(state):
        raise error

    monkeypatch.setattr(model, "load_state_dict", load)
    if told:
        with pytest.raises(type(error)):
            checkpoint.restore(tmp_path / "1.pt", model, optimizer, 5, 7)
    else:
        assert checkpoint.restore(tmp_path / "1.pt", model, optimizer, 5, 7) is None
