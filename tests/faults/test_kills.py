"""SIGKILL at random moments: of the command, of workers, of both together."""

from __future__ import annotations

from autotune.search.coordinator import run
from autotune.search.worker import Terms, work
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.victims import begun, kill, searching, working


def test_a_killed_command_ends_as_if_undisturbed(places, spec, undisturbed, judge, rounds, moments):
    for _ in range(rounds):
        url = places()
        for _ in range(2):
            process = searching(spec, url)
            process.join(moments())
            kill(process)
        with Store(url) as store:
            run(parse(spec), store=store)
            judge("SIGKILL of the command", store, undisturbed)


def test_killed_workers_end_as_if_undisturbed(
    places, spec, undisturbed, judge, rounds, moments, tmp_path
):
    for _ in range(rounds):
        url = places()
        command = searching(spec, url)
        begun("net", url)
        kill(command)
        for name in ("w1", "w2"):
            process = working("net", url, name, tmp_path / name)
            process.join(moments())
            kill(process)
        with Store(url) as store:
            work("net", store=store, terms=Terms(engine="inline", name="w3"))
            judge("SIGKILL of workers", store, undisturbed)


def test_a_search_outlives_its_command_and_a_worker(places, spec, judge, rounds, moments, tmp_path):
    for _ in range(rounds):
        url = places()
        command = searching(spec, url)
        begun("net", url)
        log = tmp_path / "w2"
        workers = [working("net", url, name, tmp_path / name) for name in ("w1", "w2")]
        command.join(moments() / 2)
        kill(command)
        workers[0].join(moments() / 2)
        kill(workers[0])
        workers[1].join(120)
        assert workers[1].exitcode == 0, log.read_text() if log.exists() else "no error was told"
        with Store(url) as store:
            judge("SIGKILL of the command and a worker of two", store)
