"""SIGKILL of scripts whose own loop trains: alone, and of one of two that share a search."""

from __future__ import annotations

from autotune.studies.store import Store
from autotune.testing.victims import asking, kill, own_loop


def test_a_killed_script_ends_as_if_undisturbed(
    places, asked, undisturbed_script, judge, rounds, moments, tmp_path
):
    for _ in range(rounds):
        url = places()
        for _ in range(3):
            process = asking(asked, url, tmp_path / "log")
            process.join(moments())
            kill(process)
        own_loop(asked, url)
        with Store(url) as store:
            judge("SIGKILL of a script that asks", store, undisturbed_script)


def test_a_search_of_two_scripts_outlives_one(places, asked, judge, rounds, moments, tmp_path):
    for number in range(rounds):
        url, log = places(), tmp_path / f"log{number}"
        scripts = [asking(asked, url, log) for _ in range(2)]
        scripts[0].join(moments())
        kill(scripts[number % 2])
        other = scripts[1 - number % 2]
        other.join(120)
        assert other.exitcode == 0, log.read_text() if log.exists() else "no error was told"
        with Store(url) as store:
            judge("SIGKILL of one of two scripts", store)
