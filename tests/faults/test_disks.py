"""A disk that fills up, and states that cannot be written or read."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading

import pytest

from autotune.search.coordinator import run
from autotune.search.events import Notice, TrialEnded
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.victims import damage
from autotune.training import checkpoint


@pytest.fixture
def small_disk(tmp_path):
    """A file system of twelve megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path):
    """Write until nothing more fits."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_is_waited_for(small_disk, spec, undisturbed, judge):
    filler, heard, ended = small_disk / "filler", [], []

    def listen(event):
        if isinstance(event, TrialEnded):
            ended.append(event)
            if len(ended) == 5:
                fill(filler)
        if isinstance(event, Notice) and "the disk is full" in event.text:
            heard.append(event.text)
            filler.unlink(missing_ok=True)

    with Store(str(small_disk / "autotune.db")) as store:
        run(parse(spec), store=store, listen=listen)
        judge("full disk", store, undisturbed)
    assert heard[0].endswith("free some space and try again; trying again")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_states_that_cannot_be_written_cost_time_only(
    tmp_path, spec, undisturbed, judge, monkeypatch, number
):
    def write(path, state):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(checkpoint, "_write", write)
    heard = []
    with Store(str(tmp_path / "autotune.db")) as store:
        run(parse(spec), store=store, listen=heard.append)
        judge(f"{errno.errorcode[number]} from checkpoint writes", store, undisturbed)
    said = [event.text for event in heard if isinstance(event, Notice)]
    assert any(os.strerror(number) in text for text in said)


def test_damaged_states_cost_time_only(tmp_path, spec, undisturbed, judge, rounds):
    for number in range(rounds):
        url, halt, ended, heard = str(tmp_path / f"{number}.db"), threading.Event(), [], []

        def listen(event, ended=ended, halt=halt, last=4 + number % 5):
            if isinstance(event, TrialEnded):
                ended.append(event)
                if len(ended) == last:
                    halt.set()

        with Store(url) as store:
            run(parse(spec), store=store, listen=listen, halt=halt)
            assert damage(tmp_path / f"{number}.db.d")
            run(parse(spec), store=store, listen=heard.append)
            judge("corrupted checkpoints", store, undisturbed)
        said = [event.text for event in heard if isinstance(event, Notice)]
        assert any("is damaged or another trial's, so steps 1 to" in text for text in said)
