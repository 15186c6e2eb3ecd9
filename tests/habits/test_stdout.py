"""A user's code prints wherever it can, and the result is still one document."""

from __future__ import annotations

import json
import os

from autotune.testing.habits import search

LOUD = """
import atexit, ctypes, logging, multiprocessing, subprocess

logging.basicConfig(stream=sys.stdout, level=logging.INFO)
atexit.register(print, "printed at the end")
atexit.register(os.write, 1, b"written at the end")


def shout(where):
    print("printed", where)
    sys.stdout.write("without a line's end")
    os.write(1, b"written")
    subprocess.run(["echo", "by a program"])
    ctypes.CDLL(None).puts(b"from C")
    logging.info("logged")


shout("at the import")


def mine(seed):
    child = multiprocessing.Process(target=shout, args=("in a child",))
    child.start()
    child.join()

    def loss(model, batch):
        shout("in the loss")
        return mean_square(model, batch)

    return problem(seed, loss)
"""


def test_a_document_is_all_that_is_on_stdout(write, command):
    out, told = command(*search(write(LOUD), "mine", "--json")).communicate(timeout=120)
    assert json.loads(out)["comparisons"][0]["search"]["name"] == "mine", told
    for said in ("in the loss", "in a child", "from C", "by a program", "printed at the end"):
        assert said in told
    out, told = command("show", "mine/adamw", "0", "--rerun", "--json").communicate(timeout=120)
    assert json.loads(out)["rerun"]["equal"] is True, told


def test_a_search_needs_no_stream_but_stdout(write, command):
    """Whose descriptor is closed would else be the next file's, such as the database's."""

    def closed():
        os.close(0)
        os.close(2)

    words = search(write("mine = problem"), "mine", "--json", "--engine", "inline")
    out, _ = command(*words, stderr=None, preexec_fn=closed).communicate(timeout=120)
    assert json.loads(out)["comparisons"][0]["search"]["name"] == "mine"


def test_lines_of_progress_stay_whole_beside_a_bar_of_the_users(write, command):
    path = write(
        """
        def mine(seed):
            def loss(model, batch):
                print("step", end="... ")
                print("step", end="... ", file=sys.stderr)
                return mean_square(model, batch)

            return problem(seed, loss)
        """
    )
    words = [*search(path), "--progress", "json"]
    told = command(*words).communicate(timeout=120)[1]
    events = [json.loads(line)["event"] for line in told.splitlines() if line.startswith("{")]
    assert events.count("search_ended") == 1
    assert not [line for line in told.splitlines() if "{" in line[1:] and line[0] != "{"]
