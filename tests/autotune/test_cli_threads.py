"""A command that is done and does not end says what it waits for."""

import threading

from autotune.cli.shared import threads


def test_what_a_users_thread_keeps_from_ending_is_told(capsys):
    over = threading.Event()
    left = threading.Thread(target=over.wait, name="uploads")
    left.start()
    try:
        threads._told(grace=0)
    finally:
        over.set()
        left.join()
    said = capsys.readouterr().err
    assert "in threads of your code: uploads; Ctrl-C ends it without them" in said
    threads._told(grace=0)
    assert not capsys.readouterr().err
