"""The lock of a search: one process at a time, however it ends, and nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from threading import Timer

import pytest
from filelock import lock_descriptor, unlock_descriptor

from autotune.errors import AlreadyThere, StorageError
from autotune.search import lock as module
from autotune.search.lock import exclusive, is_free
from autotune.studies.store import Store
from autotune.testing.forked import Forked

HOLD = """
import sys
import time
from pathlib import Path
from autotune.search.lock import exclusive
with exclusive(Path(sys.argv[1]), "net"):
    print("held", flush=True)
    time.sleep(60)
"""

OUTLIVED = """
import os
import signal
import sys
import time
from pathlib import Path
from autotune.search.lock import exclusive
with exclusive(Path(sys.argv[1]), "net"):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    else:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "autotune.db.d" / "0123abcd"


@pytest.fixture
def holder(folder: Path):
    """Another process that holds the lock."""
    with Forked(str(folder), script=HOLD) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_forked_process_that_outlives_its_parent_does_not_keep_the_lock(folder):
    with Forked(str(folder), script=OUTLIVED) as process:
        child = int(process.stdout.readline())
        process.wait()
        try:
            assert is_free(folder) is True
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_lock_that_was_never_taken_is_free(folder):
    assert is_free(folder) is True


def test_a_lock_that_another_process_holds_is_not_free(folder, holder):
    assert is_free(folder) is False


def test_the_lock_of_a_killed_process_is_free_and_can_be_taken(folder, holder):
    holder.kill()
    holder.wait()
    assert is_free(folder) is True
    with exclusive(folder, "net"):
        assert is_free(folder) is False


WITHOUT = """
import json
import sys
sys.modules["fcntl"] = None
from click.testing import CliRunner
from autotune.cli import main
told = [CliRunner().invoke(main, words) for words in json.loads(sys.argv[1])]
print(json.dumps([(one.exit_code, one.stdout, one.stderr) for one in told]))
"""
ASKED = [
    (["list", "models"], 0, "resnet50"),
    (["list", "--storage"], 0, "net"),
    (["show", "net", "--storage"], 0, "net, "),
    (["search", "--model", "mlp", "--engine", "inline", "--storage"], 4, module.WITHOUT),
]


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """What commands answer one after another where a system has no fcntl, and where they stood."""
    place = tmp_path_factory.mktemp("without")
    with Store(str(place / "studies.db")) as store:
        store.create_search("net", {"model": "mlp"}, {"steps": 9}, {"adamw": {}}, {})
    asked = [
        [*words, str(place / "studies.db")][: None if "--storage" in words else -1]
        for words, *_ in ASKED
    ]
    command = [sys.executable, "-P", "-c", WITHOUT, json.dumps(asked)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not re.search(r"Warning|Traceback", ended.stderr)
    return json.loads(ended.stdout), place


@pytest.mark.parametrize("number", range(len(ASKED)), ids=lambda number: ASKED[number][0][0])
def test_a_system_without_locks_lists_and_reads_and_says_why_it_runs_none(without, number):
    _, code, said = ASKED[number]
    ended, out, err = without[0][number]
    assert ended == code, err
    assert said in (err if code else out)
    assert not re.search(r"Warning|Traceback", err)
    assert [path.name for path in without[1].iterdir() if path.is_dir()] == []


def test_whether_a_lock_is_held_cannot_be_told_where_it_cannot_be_opened(folder):
    (folder / "lock").mkdir(parents=True)
    assert is_free(folder) is None


def test_a_lock_that_is_held_is_refused(folder, holder):
    with (
        pytest.raises(
            AlreadyThere,
            match=r"^search 'net' is being run by another process; wait for it or stop it$",
        ),
        exclusive(folder, "net"),
    ):
        pass


def test_who_only_looks_does_not_keep_a_search_from_starting(folder, monkeypatch):
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 30.0)
    with exclusive(folder, "net"):
        (folder / "1-0.pt").touch()  # keeps the lock in its place
    looking = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys, time\n"
            "file = open(sys.argv[1])\n"
            "fcntl.flock(file, fcntl.LOCK_SH)\n"
            "print('looking', flush=True)\n"
            "time.sleep(0.3)\n",
            str(folder / "lock"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert looking.stdout is not None
    assert looking.stdout.readline() == "looking\n"
    with exclusive(folder, "net"):
        assert is_free(folder) is False
    looking.communicate()


def test_two_who_only_look_do_not_take_each_other_for_a_holder(folder):
    with exclusive(folder, "net"):
        (folder / "1-0.pt").touch()  # keeps the lock in its place
    with (folder / "lock").open() as other:
        assert lock_descriptor(other.fileno(), blocking=False)
        Timer(0.005, unlock_descriptor, (other.fileno(),)).start()
        assert is_free(folder) is True


def test_whether_a_lock_is_held_cannot_be_told_where_a_system_has_none(folder, monkeypatch):
    def missing(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOSYS, "no such lock")

    with exclusive(folder, "net"):
        monkeypatch.setattr(module, "lock_descriptor", missing)
        assert is_free(folder) is None


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "autotune.db.d").touch()
    with (
        pytest.raises(
            StorageError, match=rf"^cannot write in {tmp_path}/autotune\.db\.d \(Not a directory\)$"
        ),
        exclusive(tmp_path / "autotune.db.d" / "0123abcd", "net"),
    ):
        pass


def test_an_ended_sitting_leaves_nothing_behind(folder, tmp_path):
    with exclusive(folder, "net"):
        assert (folder / "lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_an_ended_sitting_leaves_checkpoints_and_other_searches_alone(folder):
    with exclusive(folder.with_name("89abcdef"), "other"), exclusive(folder, "net"):
        pass
    with exclusive(folder, "net"):
        (folder / "1-0.pt").touch()
    assert (folder / "1-0.pt").exists()


def test_a_refused_sitting_leaves_the_lock_to_its_holder(folder, holder):
    with pytest.raises(AlreadyThere), exclusive(folder, "net"):
        pass
    assert is_free(folder) is False


def test_no_two_hold_a_lock_whose_file_comes_and_goes(folder, monkeypatch):
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 30.0)
    monkeypatch.setattr(module, "RETRY_EVERY", 0.0)
    inside: list[int] = []
    most: list[int] = []

    def sit() -> None:
        for _ in range(200):
            with exclusive(folder, "net"):
                inside.append(1)
                most.append(len(inside))
                threading.Event().wait(0.0001)
                inside.pop()

    threads = [threading.Thread(target=sit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (800, 1)
