"""Places on GPUs, pretended by CUDA_VISIBLE_DEVICES: who takes which, and what a worker sees."""

import os
import subprocess
import sys
from contextlib import closing

import pytest

from autotune import devices
from autotune.devices import Device
from autotune.drivers.nvml import Card
from autotune.engines import from_spec, gpus
from autotune.engines.gpus import MEMORY, Place, Places
from autotune.engines.processes import Processes
from autotune.errors import SpecError
from autotune.studies.spec import parse
from autotune.testing.habits import HEAD, job, over
from autotune.training.job import Outcome

MIG = "MIG-GPU-5c89852c/1/0"


@pytest.fixture(autouse=True)
def locks(monkeypatch, tmp_path):
    """Keep the locks of a test apart from those of this machine's searches."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))


@pytest.fixture
def cards(monkeypatch):
    """Say how many GPUs there are."""

    def there(count):
        card = Card(name="one", capability=(9, 0), driver="1", memory=(1, 2))
        monkeypatch.setattr(devices, "gpus", lambda visible: (card,) * count)

    return there


def held(*arguments):
    places = Places(*arguments)
    return places, [place.gpu for place in places.held]


def test_every_gpu_gets_a_trial_before_one_gets_two():
    places, found = held(["3", "5"], 2, 3)
    with closing(places):
        assert found == ["3", "5", "3"]
        assert {place.share for place in places.held} == {MEMORY / 2}


def test_searches_that_were_begun_apart_take_different_places():
    first, one = held(["0", MIG], 1, 1)
    second, other = held(["0", MIG], 1, 2)
    with closing(first), closing(second):
        assert (one, other) == (["0"], [MIG])
        assert second.notice == (
            "2 workers were asked for, but 2 GPUs take 1 trial each and 1 of them elsewhere, so 1 "
            "runs at a time; --per-gpu 2 allows more"
        )


def test_a_single_gpu_is_taken_once_and_free_again_when_its_search_ends():
    places, _ = held(["0"], 1, 1)
    with pytest.raises(
        SpecError,
        match=r"^the GPU takes 1 trial, and other searches or workers of this machine have taken "
        r"all of that; wait until one has ended, or give --per-gpu 2$",
    ):
        held(["0"], 1, 1)
    places.close()
    again, found = held(["0"], 1, 1)
    again.close()
    assert found == ["0"]


HOLDER = """
import sys
from autotune.engines.gpus import Places
places = Places(["0"], 1, 1)
print("held", flush=True)
sys.stdin.read()
"""


def test_the_place_of_a_killed_process_is_free(tmp_path):
    where = {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLDER], env=where, **pipes) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(SpecError):
            held(["0"], 1, 1)
        holder.kill()
    places, found = held(["0"], 1, 1)
    places.close()
    assert found == ["0"]


@pytest.mark.parametrize(
    ("asked", "notice"),
    [
        ((["0"], 1, 1), "trials run on GPU 0"),
        ((["0", "1"], 2, 4), "trials run on GPU 0 and 1"),
        (
            (["0"], 1, 2),
            "2 workers were asked for, but the GPU takes 1 trial, so 1 runs at a time; --per-gpu 2 "
            "allows more",
        ),
        (
            (["0", "1"], 2, 6),
            "6 workers were asked for, but 2 GPUs take 2 trials each, so 4 run at the same time; "
            "--per-gpu 3 allows more",
        ),
    ],
)
def test_it_is_told_where_trials_run_and_if_fewer_than_asked_for(asked, notice):
    with closing(Places(*asked)) as places:
        assert places.notice == notice


@pytest.mark.parametrize(
    ("visible", "device", "found"),
    [
        (None, "cuda", ["0", "1"]),
        ("3,5", "cuda", ["3", "5"]),
        (f" {MIG} ,GPU-5c89852c", "cuda", [MIG, "GPU-5c89852c"]),
        ("3,5,-1,7", "cuda", ["3", "5"]),  # CUDA stops reading there
        ("3,5", "cuda:1", ["5"]),
        ("3,5", "cpu", []),
    ],
)
def test_gpus_are_named_as_the_variable_names_them(monkeypatch, cards, visible, device, found):
    cards(2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    kind, _, index = device.partition(":")
    assert gpus.names(Device(kind, int(index) if index else None)) == found


def test_a_users_own_allocator_settings_stay(monkeypatch):
    place = Place(gpu="0", share=MEMORY)
    assert place.environment["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128")
    assert place.environment == {"CUDA_VISIBLE_DEVICES": "0"}


SEEN = """
def mine(seed):
    with open(os.path.join(os.path.dirname(__file__), "seen"), "a") as file:
        print(os.environ["CUDA_VISIBLE_DEVICES"], os.environ["PYTORCH_ALLOC_CONF"], file=file)
    return problem(seed)
"""


def test_a_worker_sees_its_own_gpu_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"3,{MIG}")
    path = tmp_path / "mine.py"
    path.write_text(HEAD + SEEN)
    neighbour, _ = held(["3"], 1, 1)
    with closing(neighbour), closing(Processes(workers=2, gpus=["3", MIG])) as engine:
        assert engine.slots == 1
        engine.submit(job(path))
        assert over(engine).outcome is Outcome.REACHED
    seen = (tmp_path / "seen").read_text().splitlines()
    assert set(seen) == {f"{MIG} expandable_segments:True"}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == f"3,{MIG}"


def test_what_cannot_share_a_gpu_is_refused():
    with pytest.raises(
        SpecError,
        match=r"^per_gpu needs engine 'processes', whose workers share GPUs, got engine "
        r"'inline'; leave it out or change the engine$",
    ):
        from_spec.ready(parse({"model": "mlp", "engine": "inline", "per_gpu": 2}))
    with pytest.raises(
        SpecError,
        match=r"^per_gpu needs GPUs, but trials train on device cpu, got 2; leave it out: workers "
        r"says how many run at the same time$",
    ):
        from_spec.start(parse({"model": "mlp", "per_gpu": 2}), {})
