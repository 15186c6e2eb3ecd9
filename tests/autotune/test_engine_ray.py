"""Trials as Ray's tasks: on this machine, and on a cluster that loses a node."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from autotune.cli import main
from autotune.config import Request, resolve
from autotune.engines import ray_cluster
from autotune.engines.ray import Ray
from autotune.errors import AutotuneError, MissingExtra, SpecError
from autotune.studies.store import Store
from autotune.testing.clusters import cluster, need_ray
from autotune.testing.trials import setting_of
from autotune.training.job import Job, Outcome

COMMAND = [sys.executable, "-P", "-m", "autotune", "search", "--optimizer", "adan"]
SMALL = ("--trials", "2", "--steps", "9", "--seeds", "2", "--set", "finalists=1")
TRIAL = r"adan trial \d+( \(\w+\))?: .* at step \d+/9.*"
LINES = re.compile(rf"{TRIAL}|stage: \w+.*|[\w-]+: .* workers? \(ray\).*")


@pytest.fixture(autouse=True)
def installed(one_ray):
    need_ray()


def start(folder, *arguments):
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def listening():
    """Return the addresses of this machine that something listens on, by port."""
    found = set()
    for path, loopback in (("tcp", "0100007F"), ("tcp6", "0" * 24 + "01000000")):
        with open(f"/proc/net/{path}") as file:
            for line in list(file)[1:]:
                local, state = line.split()[1], line.split()[3]
                address, port = local.split(":")
                if state == "0A" and address != loopback and not address.endswith("0100007F"):
                    found.add(int(port, 16))
    return found


def said(search, words):
    """Read what a search says until a line has the words."""
    told = []
    for line in search.stderr:
        told.append(line.strip())
        if words in line:
            return told
    raise AssertionError(f"{words!r} was not said: {told}")


# Searches in processes of their own come first: a process that has joined a Ray leaves its marks in
# the environment of those it starts.
def test_a_ray_of_its_own_is_killed_interrupted_and_finds_what_one_process_does(
    tmp_path, task_file, monkeypatch
):
    (tmp_path / "one").mkdir()
    task = ("--model", f"{task_file}:problem", *SMALL)
    ray = (*task, "--engine", "ray", "--workers", "1")
    before = listening()
    killed = start(tmp_path, *ray)
    said(killed, "trial 0: paused")
    opened = listening() - before
    killed.kill()
    killed.communicate(timeout=60)
    interrupted = start(tmp_path, *ray)
    told = said(interrupted, "trial")
    os.killpg(interrupted.pid, signal.SIGINT)
    _, err = interrupted.communicate(timeout=60)
    whole = start(tmp_path, *ray)
    out, last = whole.communicate(timeout=60)
    monkeypatch.chdir(tmp_path / "one")
    alone = CliRunner().invoke(main, [*COMMAND[4:], *task, "--engine", "inline"])
    assert opened == set()
    assert ended(killed.pid)
    assert interrupted.returncode == 130
    assert "go on with: autotune search --resume problem" in err
    lines = [*told, *last.splitlines()]
    assert [line for line in lines if not LINES.fullmatch(line.strip())] == []
    assert (whole.returncode, alone.exit_code, out) == (0, 0, alone.stdout)


def ended(session):
    """Say whether nothing trains in a session any more, soon."""
    deadline = time.monotonic() + 20
    while working(session) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not working(session)


def working(session):
    """Return what trains in a session."""
    told = subprocess.run(
        ["ps", "-s", str(session), "-o", "args="], capture_output=True, text=True, check=False
    )
    return [line for line in told.stdout.splitlines() if line.startswith("ray::run_job")]


@pytest.fixture(scope="module")
def head():
    """A cluster without a CPU, to which tests add machines."""
    need_ray()
    with cluster(cpus=0) as machines:
        yield machines
        ray_cluster.leave(sys.modules["ray"])


@pytest.fixture
def machine(head):
    """The cluster with one machine more; each test leaves as many as it found."""
    head.add()
    yield head
    head.lose()


def test_a_search_outlives_one_of_its_two_nodes(tmp_path, machine):
    machine.add()
    where = ("--engine", "ray", "--ray-address", machine.address)
    search = start(tmp_path, "--model", "gpt-nano", *SMALL, *where)
    told = [search.stderr.readline() for _ in range(4)]
    machine.lose()
    out, err = search.communicate(timeout=120)
    assert search.returncode == 0
    assert out.startswith("gpt-nano: gpt-nano on stdlib-lm, 9 steps")
    lost = r"adan trial \d+: (waiting|paused).*|adan trial \d+: its (machine|worker) .*"
    known = re.compile(rf"{LINES.pattern}|{lost}")
    assert [line for line in [*told, *err.splitlines()] if not known.fullmatch(line.strip())] == []
    with Store(str(tmp_path / "autotune.db")) as store:
        study = store.search("gpt-nano").studies[0]
        assert {trial.state for trial in store.trials(study.id)} <= {"complete", "stopped"}


def lost(head):
    """Wait until no machine that was lost is believed alive."""
    ray = ray_cluster.joined(1, head.address)
    while any(node["Alive"] and node["Resources"].get("CPU") for node in ray.nodes()):
        time.sleep(0.1)


def test_a_handler_of_sigterm_of_the_callers_own_outlives_joining(head):
    def own(number, frame):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, own)
    try:
        ray = ray_cluster.joined(1, head.address)
        ray_cluster.leave(ray)
        ray_cluster.joined(1, head.address)
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_cluster_without_what_a_trial_needs_is_refused(head):
    lost(head)
    where = f"any machine of the Ray cluster at '{head.address}'"
    sentence = (
        f"a trial needs a free CPU, but there is none on {where}; "
        "add a machine and run the same command again"
    )
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        Ray.ready(address=head.address)
    sentence = f"--gpus-per-trial must be at most the GPUs of {where}, which are 0, got 64"
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        Ray.ready(address=head.address, gpus_per_trial=64)


def job(task_file, trial, steps):
    task = {"model": f"{task_file}:problem", "data": None, "steps": steps, "batch_size": None}
    return Job(
        trial=trial, attempt=1, task=task, optimizer="adamw", setting=setting_of(), seed=3, start=0,
        stop=steps, target=steps, evaluate=(steps // 50,),
    )  # fmt: skip


def until(engine, outcome):
    """Return the next report of an outcome, and fail at one that ends a job otherwise."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for report in engine.reports(0.5):
            if report.outcome is outcome:
                return report
            assert report.outcome is Outcome.PROGRESS, report
    raise AssertionError(f"nothing {outcome}")


@pytest.fixture
def joined(machine):
    """An engine of three workers on a cluster with one CPU, on a machine that can be lost."""
    engine = Ray(workers=3, address=machine.address)
    yield machine, engine
    engine.close()
    engine.close()
    assert not sys.modules["ray"].is_initialized()


def test_what_waits_for_room_outlives_a_machine_and_what_ran_there_is_lost(joined, task_file):
    machines, engine = joined
    engine.submit(job(task_file, trial=1, steps=1_000_000))
    until(engine, Outcome.PROGRESS)
    engine.submit(job(task_file, trial=2, steps=50))
    machines.lose()
    lost = until(engine, Outcome.LOST)
    assert (lost.trial, lost.step, lost.reason) == (1, 0, "its machine left the Ray cluster")
    machines.add()
    assert until(engine, Outcome.REACHED).trial == 2


def test_a_job_that_began_unheard_on_a_machine_that_left_is_run_again(
    joined, task_file, monkeypatch
):
    machines, engine = joined
    with monkeypatch.context() as deaf:
        deaf.setattr(engine, "_messages", list)
        deaf.setattr(engine, "_over", list)
        engine.submit(job(task_file, trial=1, steps=50))
        machines.lose()
        while not engine._gone:
            assert engine.reports(0.5) == []
    machines.add()
    assert until(engine, Outcome.REACHED).trial == 1


def test_without_what_trials_report_to_the_search_ends_in_a_sentence(joined, task_file):
    _, engine = joined
    engine.submit(job(task_file, trial=1, steps=1_000_000))
    until(engine, Outcome.PROGRESS)
    sys.modules["ray"].kill(engine._mailbox)
    sentence = (
        "Ray ended the actor that collects reports (ActorDiedError); run the same command again "
        "to continue"
    )
    with pytest.raises(AutotuneError, match=f"^{re.escape(sentence)}$"):
        until(engine, Outcome.REACHED)


REFUSED = [
    (
        {"engine": "ray", "ray_address": "ray://head:10001"},
        "--ray-address: ray.address must be auto or HOST:PORT, got 'ray://head:10001'",
    ),
    (
        {"engine": "ray", "gpus_per_trial": 0.0},
        "--gpus-per-trial: ray.gpus_per_trial must be above 0, got 0",
    ),
    (
        {"engine": "ray", "gpus_per_trial": 1.5},
        "--gpus-per-trial: ray.gpus_per_trial must be a part of one GPU or whole ones, got 1.5",
    ),
    (
        {"ray_address": "auto"},
        "--ray-address is for engine 'ray', got engine 'processes'; add --engine ray or leave it "
        "out",
    ),
]


@pytest.mark.parametrize(("flags", "sentence"), REFUSED, ids=str)
def test_flags_that_ray_cannot_follow_are_refused(tmp_path, flags, sentence):
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        resolve(Request(flags={"model": "gpt-nano", **flags}), environment={}, directory=tmp_path)


def test_a_cluster_that_does_not_answer_is_refused_and_nothing_is_written(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    where = ("--engine", "ray", "--ray-address", address)
    search = start(tmp_path, "--model", "gpt-nano", *SMALL, *where)
    out, err = search.communicate(timeout=60)
    assert (search.returncode, out, err) == (
        2,
        "",
        f"error: cannot join the Ray cluster at '{address}' (Connection refused); start one with "
        "'ray start --head', or leave --ray-address out for one of its own\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_without_ray_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    sentence = "engine 'ray' needs the ray extra; install it: pip install 'adan-autotune\\[ray\\]'"
    with pytest.raises(MissingExtra, match=rf"^{sentence}$") as refused:
        Ray.ready()
    assert refused.value.exit_code == 3
