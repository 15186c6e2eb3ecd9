"""What a command prints, writes and reports, and how its processes are paused and ended."""

import os
import queue
import subprocess
import sys
from math import isnan
from pathlib import Path

import pytest

import autotune
from autotune.command import keeper, log, program
from autotune.command.channel import Channel
from autotune.command.columns import Rows, check
from autotune.command.environment import environment, remembered
from autotune.command.log import Log
from autotune.command.program import Program
from autotune.command.report import report
from autotune.command.said import Lines, Malformed, Said
from autotune.errors import SpecError
from autotune.testing.habits import eventually

PATIENCE = 60  # seconds, for a loaded machine: a process that begins imports this package


def lines(*pieces):
    found = Lines()
    return [one for piece in pieces for one in found.feed(piece)]


def test_a_line_reports_wherever_the_pieces_of_output_end():
    first, second = Said(step=1, loss=2.5), Said(step=2, loss=-1e-3, accuracy=0.5)
    pieces = (
        b"noise\nautotune st",
        b"ep=1 loss=2.5\r\nautotune step=2 loss=-1e-3 accuracy=.5",
        b"\n",
    )
    assert lines(*pieces) == [first, second]
    assert lines(b"50%\r  autotune step=1 loss=2.5\r") == [first]
    assert isnan(lines(b"autotune step=1 loss=nan\n")[0].loss)


def test_a_line_that_only_speaks_of_it_is_none():
    texts = b"autotune search", b"myautotune step=1 loss=2", b"print('autotune step=1')", b""
    assert lines(b"\n".join(texts)) == []
    assert lines(b"x" * 10_000 + b"autotune step=1 loss=2\n") == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("step=1", "must have a loss, as in 'autotune step=100 loss=2.31 accuracy=0.7'"),
        ("step=1 loss=", "must have a loss"),
        ("step=1 loss=two", "the loss of the line 'autotune step=1 loss=two' must be a number"),
        ("step=1.5 loss=2", "must be a whole number, got 1.5"),
        ("step=1 loss=2 acc=1", "has 'acc=1'; it must look like"),
        ("step=1 loss=2 done", "has 'done'; it must look like"),
    ],
)
def test_a_line_that_is_no_measurement_is_refused(line, sentence):
    with pytest.raises(Malformed) as refused:
        lines(f"autotune {line}\n".encode())
    assert sentence in str(refused.value)


def test_a_log_keeps_both_ends_and_says_how_much_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "HEAD", 10)
    monkeypatch.setattr(log, "PIECE", 8)
    path = tmp_path / "x.log"
    whole = bytes(range(65, 91)) * 3  # a head of 10, eight pieces of 8, and 4 bytes of a ninth
    written = Log(path)
    for byte in whole:
        written.write(bytes([byte]))
    written.close()
    start, end = b"".join(log.read(path)).split(b"\n[48 bytes are cut here]\n")
    assert (start, end) == (whole[:10], whole[58:])
    Log(path).close()  # of another attempt
    assert [file.name for file in log.files(path)] == ["x.log"]


def test_the_last_lines_are_those_a_person_would_read(tmp_path):
    written = Log(tmp_path / "x.log")
    written.write(b"1%\r2%\r\n\x1b[31mred\x1b[0m\n\nno\0thing\n" + b"y" * 900 + b"\nend")
    written.close()
    found = log.last_lines(tmp_path / "x.log", 4)
    assert found == ["red", "no\N{REPLACEMENT CHARACTER}thing", "y" * 500, "end"]


def rows(path, *texts, **metric):
    found, read = Rows(path, metric), []
    for text in texts:
        with path.open("a") as file:
            file.write(text)
        read += found.read()
    return read + list(found.read(over=True))


def test_json_lines_are_read_as_they_grow(tmp_path):
    texts = '{"step": 1, "loss": 2.0}\n{"step": 2, "tra', 'in": 1}\n\n{"step": 3, "loss": NaN}'
    first, last = rows(tmp_path / "x.jsonl", *texts)
    assert first == Said(step=1, loss=2.0)
    assert (last.step, isnan(last.loss)) == (3, True)


def test_a_table_of_timm_is_read_by_its_columns(tmp_path):
    text = "epoch,train_loss,eval_loss,eval_top1\n0,3.0,2.5,40.0\n1,2.0,,\n2,1.5,2.0,60.0\n"
    metric = {"step": "epoch+1", "loss": "eval_loss", "accuracy": "eval_top1/100"}
    assert rows(tmp_path / "summary.csv", text, **metric) == [
        Said(step=1, loss=2.5, accuracy=0.4),
        Said(step=3, loss=2.0, accuracy=0.6),
    ]


def test_a_column_may_have_a_slash_in_its_name(tmp_path):
    [one] = rows(tmp_path / "x", '{"step": 1, "eval/loss": 2}\n', loss="eval/loss")
    assert one.loss == 2


def test_a_file_of_an_earlier_attempt_is_not_read(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"step": 9, "loss": 1}\n')
    assert rows(path, '{"step": 1, "loss": 2}\n') == [Said(step=1, loss=2.0)]


def test_a_file_that_its_logger_writes_anew_is_read_on(tmp_path):
    path = tmp_path / "x.csv"
    found = Rows(path, {})
    path.write_text("step,loss,more\n1,2.0,xxxxxxxxxxxxxxxxxxxxxxxx\n")
    read = list(found.read())
    path.write_text("step,loss\n1,2.0\n2,1.0\n")
    assert [one.step for one in [*read, *found.read()]] == [1, 2]


@pytest.mark.parametrize(
    ("text", "metric", "sentence"),
    [
        (
            "epoch,loss\n1,2\n",
            {},
            "x has no column 'step' for the step, its columns are epoch, loss",
        ),
        ('{"loss": 2}\n', {}, "a row of x must have a step"),
        ("step,loss\n1,low\n", {}, "the loss of a row of x must be a number, got 'low'"),
        ("step,loss\none,2\n", {"step": "step+1"}, "column 'step+1' of x must hold numbers"),
        ("{broken\n", {}, "a line of x is no JSON: {broken"),
    ],
)
def test_a_file_without_measurements_is_refused(tmp_path, text, metric, sentence):
    with pytest.raises(Malformed) as refused:
        rows(tmp_path / "x", text, **metric)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("file", "metric", "sentence"),
    [
        ("out.csv", {}, "report must be a file of one trial alone, got 'out.csv'; put {trial}"),
        ("{trial}.csv", {"los": "x"}, "metric must name step, loss or accuracy, got 'los'"),
        ("{trial}.csv", {"loss": "x/0"}, "metric loss must not divide by 0"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_before(file, metric, sentence):
    with pytest.raises(SpecError) as refused:
        check(file, metric)
    assert sentence in str(refused.value)


def test_a_report_outside_a_search_does_nothing(monkeypatch):
    monkeypatch.delenv(keeper.REPORT, raising=False)
    assert report(1, 2.0)
    with pytest.raises(TypeError, match="loss must be a number, got 'low'"):
        report(1, "low")


@pytest.fixture
def heard(monkeypatch):
    """What a channel hears; the reports of this process go to it."""
    came = queue.Queue()
    channel = Channel(came.put)
    monkeypatch.setenv(keeper.REPORT, channel.mark)
    yield came
    channel.close()


REPORTS = "import autotune; print(autotune.report(7, 2.5, accuracy=0.5))"


@pytest.fixture
def reporting(heard):
    """Start a process that reports with the standard library alone; it may not outlive its test."""
    started = []

    def start(**more):
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", REPORTS],
            env={**os.environ, "PYTHONPATH": str(Path(autotune.__file__).parents[1]), **more},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("go_on", [True, False])
def test_a_report_waits_for_its_answer(heard, reporting, go_on):
    process = reporting()
    asked = heard.get(timeout=PATIENCE)
    assert asked.said == Said(step=7, loss=2.5, accuracy=0.5)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    asked.answer(go_on)
    assert process.communicate(timeout=PATIENCE)[0] == f"{go_on}\n"


def test_only_rank_0_reports(heard, reporting):
    assert reporting(RANK="1").communicate(timeout=PATIENCE)[0] == "True\n"
    assert heard.empty()


def test_a_stranger_and_a_search_that_is_gone_are_answered_with_no(heard, reporting):
    address = os.environ[keeper.REPORT].partition("/")[0]
    for channel in (f"{address}/guessed", "127.0.0.1:1/x"):
        process = reporting(**{keeper.REPORT: channel})
        assert process.communicate(timeout=PATIENCE)[0] == "False\n"
    assert heard.empty()


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Start a shell command; it is ended whatever happens."""
    monkeypatch.setattr(program, "GRACE", PATIENCE)
    started = []

    def start(text):
        came = queue.Queue()
        path = tmp_path / f"{len(started)}.log"
        made = Program(
            ["bash", "-c", text],
            mark=f"{tmp_path}/{len(started)}",
            environment=dict(os.environ),
            log=Log(path),
            take=came.put,
        )
        started.append(made)
        return made, came, path

    yield start
    for each in started:
        each.end()


def states(made):
    """Return the states of a command's processes."""
    pids = keeper.members(made._group, made._mark)
    texts = [Path(f"/proc/{pid}/stat").read_text() for pid in pids]
    return [text.rpartition(")")[2].split()[0] for text in texts]


RANKS = "setsid sleep 50 & setsid sleep 50 & echo autotune step=1 loss=2; exec sleep 50"


def test_a_command_is_paused_with_what_has_left_its_group(begin):
    made, came, _ = begin(RANKS)
    came.get(timeout=PATIENCE)
    eventually(lambda: len(states(made)) == 3)
    made.pause()
    eventually(lambda: states(made) == ["T"] * 3)
    made.resume()
    eventually(lambda: "T" not in states(made))


def test_a_command_is_ended_with_what_has_left_its_group(begin):
    made, came, _ = begin(RANKS)
    came.get(timeout=PATIENCE)
    assert not made.end()
    assert states(made) == []
    assert made.code == -15


def test_a_command_that_ignores_sigterm_is_killed(begin, monkeypatch):
    monkeypatch.setattr(program, "GRACE", 0.3)
    made, came, _ = begin("trap '' TERM; echo autotune step=1 loss=2; sleep 50; sleep 50")
    came.get(timeout=PATIENCE)
    assert made.end()
    assert states(made) == []


def test_a_paused_command_can_be_ended(begin):
    made, came, path = begin(
        "trap 'echo bye; exit 3' TERM; echo autotune step=1 loss=2; sleep 9 & wait"
    )
    came.get(timeout=PATIENCE)
    made.pause()
    assert not made.end()
    assert made.code == 3
    assert log.last_lines(path)[-1] == "bye"


def test_a_flood_of_output_neither_blocks_a_command_nor_fills_the_disk(begin, monkeypatch):
    monkeypatch.setattr(log, "PIECE", 1 << 20)
    made, came, path = begin(
        "head -c 60000000 /dev/zero; echo; echo autotune step=1 loss=2; echo end"
    )
    assert made.wait(PATIENCE)
    made.settle()
    assert came.get(timeout=PATIENCE).step == 1
    assert log.last_lines(path, 1) == ["end"]
    assert sum(file.stat().st_size for file in log.files(path)) <= log.HEAD + 3 * (1 << 20)
    assert b"bytes are cut here" in b"".join(log.read(path))


def test_the_keeper_ends_a_command_whose_owner_was_killed(begin):
    made, came, _ = begin(RANKS)
    came.get(timeout=PATIENCE)
    made._keeper.stdin.close()  # as the end of the process that holds it does
    eventually(lambda: states(made) == [])


def test_a_command_whose_owner_dies_before_it_is_watched_never_runs(tmp_path):
    ran = tmp_path / "ran"
    gate = subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, "gate", "touch", str(ran)],
        stdin=subprocess.PIPE,
    )
    gate.stdin.close()
    gate.wait(10)
    assert not ran.exists()


def test_a_command_has_the_user_s_variables_not_its_worker_s():
    user = {"OMP_NUM_THREADS": "8", "HOME": "/home/me"}
    worker = user | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "1"}
    worker |= remembered(["OMP_NUM_THREADS", "MKL_NUM_THREADS"], user)
    seen = {"PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": "1", **user}
    assert environment(worker) == seen
    assert environment({"PYTHONUNBUFFERED": ""})["PYTHONUNBUFFERED"] == ""


def test_a_channel_that_breaks_off_is_answered_with_no(heard, reporting):
    process = reporting()
    heard.get(timeout=PATIENCE).connection.close()
    assert process.communicate(timeout=PATIENCE)[0] == "False\n"
