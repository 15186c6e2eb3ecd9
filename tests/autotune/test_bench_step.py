"""``autotune bench step`` as a whole, on tensors so small that it takes seconds."""

from __future__ import annotations

import itertools
import json
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner, Result
from torch.optim.optimizer import register_optimizer_step_pre_hook

from autotune.bench import machine
from autotune.bench.gpu.steps import sweep
from autotune.bench.step import first_step, selection, timing
from autotune.bench.step.first_step import measure
from autotune.bench.step.implementations import Own, Peer
from autotune.bench.step.timing import HostClock
from autotune.bench.step.workload import Workload
from autotune.cli import main
from autotune.errors import AutotuneError
from autotune.kernels.triton import configs

ROOT = Path(__file__).parents[2]
SMALL = ("bench", "step", "--device", "cpu", "--shapes", "small", "--no-first-steps")
WORKLOAD = Workload(shapes="small", dtype="float32", device="cpu", threads=1)


def bench(*args: str) -> Result:
    return CliRunner().invoke(main, [*SMALL, *args])


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[Result, dict]:
    """Measure once: the table that was printed, and the document that was saved."""
    path = tmp_path_factory.mktemp("bench") / "small.json"
    who = ("--optimizer", "adan", "--optimizer", "adamw", "--backend", "torch")
    against = ("--against", "torch-adamw-fused", "--against", "torch-adamw-foreach")
    done = bench(*who, *against, "--repeats", "2", "--save", str(path))
    assert done.exit_code == 0, done.stderr
    return done, json.loads(path.read_text(encoding="utf-8"))["bench"]


def test_there_is_a_row_for_each_optimizer_on_each_backend(measured):
    rows = [(row["optimizer"], row["backend"]) for row in measured[1]["rows"]]
    assert rows == [("adan", "torch"), ("adamw", "torch")]


def test_a_row_says_what_a_step_costs(measured):
    row = measured[1]["rows"][0]
    assert (row["shapes"], row["dtype"]) == ("small", "float32")
    assert row["ms_min"] <= row["ms_q1"] <= row["ms"] <= row["ms_q3"]
    assert row["us_per_tensor"] == pytest.approx(row["ms"])  # a thousand tensors
    assert (row["bytes_per_param"], row["state_bytes_per_param"]) == (44, 16)
    assert 0 < row["stream_fraction"] < 1.5
    assert row["first_step_s"] is None


def test_a_row_is_compared_with_every_peer(measured):
    document = measured[1]
    peers = {row["peer"]: row for row in document["peers"]}
    assert set(peers) == {"torch-adamw-fused", "torch-adamw-foreach"}
    for row in document["rows"]:
        assert set(row["ratios"]) == set(peers)
        for name, ratio in row["ratios"].items():
            assert (ratio > 1) == (peers[name]["ms"] > row["ms"])


def test_the_document_says_where_and_when_it_was_measured(measured):
    document = measured[1]
    facts = document["machine"]
    assert facts["packages"]["torch"]
    assert facts["date"].endswith("+00:00")
    assert {"device", "commit", "python", "cores"} <= set(facts)
    assert (document["device"], document["threads"], document["rounds"]) == ("cpu", 1, 2)
    assert (document["tensors"], document["parameters"]) == (1000, 64_000)
    assert document["stream"]["kind"] == "in-place scale (1 read, 1 write)"
    assert document["stream"]["gb_per_s"] > 0


def test_a_person_gets_tables_and_conclusions(measured):
    machine_line, shapes, stream, *rest = measured[0].stdout.splitlines()
    assert "1 thread, torch " in machine_line
    assert shapes == "small: 1,000 tensors, 64,000 parameters in float32; 2 of 2 rounds"
    assert stream.startswith("stream: in-place scale (1 read, 1 write) at ")
    text = "\n".join(rest)
    assert "\noptimizer  backend  ms " in text
    assert "\npeer                 its rule  ms " in text
    # Which of them is faster is for the machine to say.
    assert re.search(r"\nadamw: .*\b(fused|foreach|torch)\b.* fast", text)


def test_progress_is_told_on_stderr(measured):
    assert measured[0].stderr.splitlines() == [
        "steps of 4, in 2 rounds",
        "round 1 of 2 is done",
        "round 2 of 2 is done",
    ]


def test_json_is_one_document_and_quiet_is_quiet():
    done = bench("--optimizer", "sgd", "--against", "none", "--repeats", "1", "--json", "-q")
    document = json.loads(done.stdout)
    assert document["schema_version"] == 1
    assert {row["backend"] for row in document["bench"]["rows"]} >= {"torch", "numba"}
    assert (document["bench"]["peers"], document["bench"]["not_installed"]) == ([], {})
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("args", "exit_code", "said"),
    [
        (
            ("--shapes", "resnet5"),
            2,
            "unknown shapes 'resnet5'; did you mean 'resnet50'? "
            "(known: gpt2, gpt2-xl, resnet50, small, vit-b)",
        ),
        (
            ("--backend", "nubma"),
            2,
            "unknown backend 'nubma'; did you mean 'numba'? (known: numba, torch, triton)",
        ),
        (
            ("--against", "none", "--against", "timm-adan"),
            2,
            "--against none stands alone, got also timm-adan",
        ),
        (
            ("--save", "nowhere/x.json"),
            2,
            "--save must name a file in a folder that exists, got nowhere/x.json",
        ),
    ],
    ids=["shapes", "backend", "none", "save"],
)
def test_what_cannot_be_measured_is_refused(args, exit_code, said):
    done = bench(*args)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert done.stderr == f"error: {said}\n"


@pytest.mark.parametrize(
    ("kind", "wrong", "near"),
    [("optimizer", "adna", "adan"), ("against", "optimi-adam", "optimi-adan")],
)
def test_a_wrong_name_suggests_the_nearest(kind, wrong, near):
    done = bench(f"--{kind}", wrong)
    noun = "peer" if kind == "against" else kind
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: unknown {noun} '{wrong}'; did you mean '{near}'? (known")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused():
    done = bench("--device", "cuda")
    assert done.exit_code == 2
    assert done.stderr == (
        f"error: device 'cuda' is not there for PyTorch {torch.__version__}; use --device cpu\n"
    )


def test_a_model_too_large_for_the_memory_is_refused_with_what_it_needs(monkeypatch):
    monkeypatch.setattr(machine, "free", lambda device: 8_000_000_000)
    done = bench("--shapes", "gpt2-xl", "--optimizer", "adan", "--against", "none")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: shapes 'gpt2-xl' need about 57 GB of memory on cpu, 8 GB are free; "
        "use fewer, such as --shapes resnet50\n"
    )


NOWHERE = Peer(name="nowhere-adan", rule="adan", package="nowhere", cls="nowhere_at_all:Adan")
WRONG = Peer(name="wrong-adan", rule="adan", package="torch", cls="torch.optim:NoSuchAdan")
GPU = Peer(name="gpu-adan", rule="adan", package="torch", cls="torch.optim:Adam", devices=("cuda",))


def test_peers_that_cannot_be_measured_are_named(monkeypatch):
    monkeypatch.setattr(selection, "PEERS", (NOWHERE, WRONG, GPU))
    done = bench("--optimizer", "sgd", "--backend", "torch", "--repeats", "1")
    assert done.stdout.splitlines()[-3:] == [
        "not installed: nowhere",
        "not measured: wrong-adan: AttributeError: module 'torch.optim' has no attribute "
        "'NoSuchAdan'",
        "not measured: gpu-adan: runs on cuda only",
    ]


def test_a_peer_asked_for_must_be_installed(monkeypatch):
    monkeypatch.setattr(selection, "PEERS", (NOWHERE,))
    done = bench("--optimizer", "sgd", "--against", "nowhere-adan")
    assert done.exit_code == 3
    assert done.stderr == (
        "error: peer 'nowhere-adan' needs nowhere, which is not installed; "
        "install it, or measure without --against\n"
    )


def test_a_peer_warns_of_nothing_that_is_ours(monkeypatch):
    monkeypatch.setattr(selection, "PEERS", ())
    warning = replace(NOWHERE, cls=f"{__name__}:Warning_")
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(Warning_=Warning_))
    probed, absent = selection.runnable([warning], torch.float32, "cpu")
    assert ([each.implementation.name for each in probed], absent) == (["nowhere-adan"], {})


class Warning_(torch.optim.SGD):
    def step(self, closure=None):
        import warnings

        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        return super().step(closure)


class Interrupting(HostClock):
    """A clock that measures so many times, then somebody presses Ctrl-C."""

    def __init__(self, times: int) -> None:
        self.left = times

    def time(self, work):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().time(work)


def interrupted(monkeypatch, times: int) -> Result:
    monkeypatch.setattr(timing, "clock", lambda device: Interrupting(times))
    return bench("--optimizer", "sgd", "--backend", "torch", "--against", "none", "--repeats", "9")


def test_an_interrupt_keeps_the_complete_rounds(monkeypatch):
    done = interrupted(monkeypatch, times=15)
    assert done.exit_code == 130
    assert done.stdout.splitlines()[1].endswith("; 2 of 9 rounds")


def test_an_interrupt_in_the_first_round_leaves_nothing_to_tell(monkeypatch):
    done = interrupted(monkeypatch, times=2)
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr.splitlines()[-1] == "interrupted"


def test_first_steps_are_taken_in_new_processes():
    first = measure(Own(rule="sgd", backend="torch"), WORKLOAD)
    assert min(first.step, first.again, first.torch) > 0
    # This process made its first optimizer long ago; a new one loads PyTorch's compiler for it.
    assert first.torch > 0.05


def test_a_first_step_that_fails_is_told():
    sentence = (
        r"^the first step of 'wrong-adan' failed: "
        r"AttributeError: module 'torch.optim' has no attribute 'NoSuchAdan'$"
    )
    with pytest.raises(AutotuneError, match=sentence):
        measure(WRONG, WORKLOAD)


def test_a_process_that_ends_without_a_word_is_told(monkeypatch):
    monkeypatch.setattr(first_step, "_child", itertools.chain)  # takes anything, does nothing
    with pytest.raises(
        AutotuneError, match=r"^the first step of 'sgd torch' failed: its process died$"
    ):
        measure(Own(rule="sgd", backend="torch"), WORKLOAD)


def test_compilers_caches_are_in_a_folder_that_is_gone_afterwards():
    assert {"NUMBA_CACHE_DIR", "TRITON_CACHE_DIR"} <= set(first_step._CACHES)


def test_a_sweep_times_every_launch_setting_in_turn():
    launches, used = configs.SWEPT[:2], []
    cpu = torch.device("cpu")
    hook = register_optimizer_step_pre_hook(lambda *_: used.append(configs.config(cpu)))
    try:
        settings = sweep(Own(rule="sgd", backend="torch"), WORKLOAD, 2, launches)
    finally:
        hook.remove()
    first, second = launches
    timed = [launch for launch in used if launch is not configs.INTERPRETER]
    assert timed == [first] * 5 + [second] * 10 + [first] * 5
    assert sorted(setting.launch.chunk for setting in settings) == [1024, 2048]
    assert settings[0].ms <= settings[1].ms
    assert configs.config(cpu) is configs.INTERPRETER


PARTS = """
set -eu
. benchmarks/parts.sh cpu
part fails 5 sh -c 'echo no >&2; exit 3'
part works 5 echo yes
finish
"""


def test_a_part_that_fails_stops_no_other(tmp_path):
    done = subprocess.run(
        ["sh", "-c", PARTS],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "OUT": str(tmp_path), "PYTHON": sys.executable},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "failed, see the .log there: fails(3)"
    assert (tmp_path / "works.txt").read_text() == "yes\n"
    assert (tmp_path / "fails.log").read_text() == "no\n"
    assert not (tmp_path / "works.log").exists()


@pytest.mark.parametrize(
    ("script", "command"), [("cpu.sh", ["autotune", "bench", "step"]), ("gpu.sh", ["gpu.py"])]
)
def test_the_scripts_ask_only_for_what_the_command_offers(script, command):
    text = (ROOT / "benchmarks" / script).read_text()
    flags = {word.strip('"') for word in text.split() if word.startswith("--")}
    called = main
    if command == ["gpu.py"]:
        called = runpy.run_path(str(ROOT / "benchmarks" / "gpu.py"))["main"]
    known = CliRunner().invoke(called, [*command[1:], "--help"]).stdout
    assert flags
    assert [flag for flag in flags if flag not in known] == []
