"""How long people wait for the dashboard of 10,000 trials, beside optuna-dashboard on the same.

Needs Chromium, and ``pip install optuna-dashboard playwright``. A visitor comes with nothing in
the browser's cache, opens the first page and then the others. A page is there when its chart or
table is, its server has ended, and then nothing in it changed for half a second, which is not
counted. A live page goes on changing: with a trial a second it is there the first time that its
chart or table is drawn and its server has ended. A click is over when the axis is logarithmic and
the server has ended. The floor is a page of Streamlit's that holds one chart of three points.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import optuna
from optuna.storages._rdb import models
from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import create_engine, insert

from autotune.bench.machine import facts
from autotune.studies import attempts
from autotune.studies.models import Attempt, CurvePoint, Trial
from autotune.studies.records import Point, Proposal, Role, TrialState
from autotune.studies.setting import Setting
from autotune.studies.store import Store
from autotune.testing import sample
from autotune.testing.served import CHROMIUM, FLAGS

NAME, STEPS, POINTS = "load", 200, 20
SPACE: dict[str, tuple[str, float, float]] = {
    "lr": ("log", 1e-4, 1e-1),
    "one_minus_beta1": ("log", 5e-3, 0.2),
    "one_minus_beta2": ("log", 1e-3, 0.2),
    "warmup": ("linear", 0.0, 0.3),
}
CHART = ".js-plotly-plot .main-svg"
TABLE = "[data-testid='stDataFrame'] canvas"
STUDY = f"study?search={NAME}&optimizer=adan&tab="
OURS = {
    "first page": ("", CHART),
    "compare": (f"compare?search={NAME}", CHART),
    "history": (f"{STUDY}History", CHART),
    "curves": (f"{STUDY}Curves", CHART),
    "importance, slices": (f"{STUDY}Importance+and+slices", CHART),
    "parallel coordinates": (f"{STUDY}Parallel+coordinates", CHART),
    "reliability": (f"{STUDY}Reliability", CHART),
    "rungs, workers": (f"{STUDY}Rungs+and+workers", CHART),
    "trials": (f"{STUDY}Trials", TABLE),
    "a trial": (f"trial?search={NAME}&optimizer=adan&trial=17", CHART),
}
THEIRS = {
    "list of studies": ("dashboard/", "a[href*='studies']"),
    "study": ("dashboard/studies/1", CHART),
    "analytics": ("dashboard/studies/1/analytics", CHART),
    "trials": ("dashboard/studies/1/trials", "[class*='MuiList']"),
}
WATCH = """window.changed = 0;
new MutationObserver(() => { window.changed = performance.now(); }).observe(
  document, {subtree: true, childList: true, attributes: true, characterData: true});"""
READY = """wanted => { const app = document.querySelector('[data-testid="stApp"]');
  return document.querySelector(wanted) && (!app || app.dataset.testScriptState === 'notRunning')
    && !document.querySelector('[data-stale="true"], [data-testid="stSkeleton"]')
    && performance.now(); }"""
LOGARITHMIC = """() => { const app = document.querySelector('[data-testid="stApp"]');
  return document.querySelector('.js-plotly-plot')?._fullLayout?.yaxis?.type === 'log'
    && app.dataset.testScriptState === 'notRunning'
    && document.querySelector('.js-plotly-plot .main-svg') && performance.now(); }"""
FLOOR = """
import plotly.graph_objects as go
import streamlit as st
st.header("A page")
st.plotly_chart(go.Figure(go.Scatter(x=[1, 2, 3], y=[3, 1, 2])))
"""
SERVING = """
import sys
import streamlit as st
from autotune.app.serve import settings
st.App(sys.argv[1]).run(config=settings("127.0.0.1", int(sys.argv[-1])))
"""
STILL = """wanted => { const app = document.querySelector('[data-testid="stApp"]');
  return document.querySelector(wanted) && (!app || app.dataset.testScriptState === 'notRunning')
    && !document.querySelector('[data-stale="true"], .MuiSkeleton-root, .MuiCircularProgress-root')
    && performance.now() - window.changed > 500; }"""


def trials(count: int) -> Iterator[tuple[dict[str, float], str, int, list[float]]]:
    """Yield parameters, state, last step and the losses of trials, the same ones each time."""
    draw = random.Random(0)
    for _ in range(count):
        params = {
            name: math.exp(draw.uniform(math.log(low), math.log(high)))
            if kind == "log"
            else draw.uniform(low, high)
            for name, (kind, low, high) in SPACE.items()
        }
        end = 1 + abs(math.log10(params["lr"]) + 2.5) + 0.1 * draw.random()
        losses = [end + 3 / (i + 1) for i in range(POINTS)]
        stopped = draw.random() < 2 / 3
        yield params, "stopped" if stopped else "complete", STEPS, losses


def fill(url: str, count: int) -> None:
    """Make our database."""
    with Store(url) as store:
        search = store.create_search(
            NAME, {}, dict(sample.TASK), {"adan": {k: list(v) for k, v in SPACE.items()}}, {}
        )
        study = search.studies[0].id
        with store.reading() as connection:
            now = attempts.now(connection)
    tried, goes, points = [], [], []
    for i, (params, state, target, losses) in enumerate(trials(count)):
        began, ended = now + timedelta(seconds=i), now + timedelta(seconds=i + 1)
        tried.append(
            {
                "id": i + 1, "study_id": study, "number": i, "role": "search", "origin": "sobol",
                "params": params, "hyper": {"lr": params["lr"]}, "warmup": params["warmup"],
                "seed": 0, "target": target, "state": state, "attempt": 1, "step": target,
                "loss": losses[-1], "seconds": 1.0, "created": began, "updated": ended,
            }
        )  # fmt: skip
        goes.append(
            {
                "trial_id": i + 1, "number": 1, "worker": f"gpu-{i % 8}", "started": began,
                "heartbeat": ended, "expires": ended, "ended": ended, "outcome": state,
            }
        )  # fmt: skip
        points += [
            {"trial_id": i + 1, "step": (j + 1) * STEPS // POINTS, "seconds": j / POINTS, "loss": v}
            for j, v in enumerate(losses)
        ]
    engine = create_engine(url)
    with engine.begin() as connection:
        for model, rows in ((Trial, tried), (Attempt, goes), (CurvePoint, points)):
            connection.execute(insert(model), rows)
    engine.dispose()


def fill_optuna(url: str, count: int) -> None:
    """Make Optuna's database of the same trials; its own add_trials takes minutes for them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.create_study(study_name=NAME, storage=url)
    kinds = {
        name: optuna.distributions.FloatDistribution(low, high, log=kind == "log")
        for name, (kind, low, high) in SPACE.items()
    }
    written = {name: optuna.distributions.distribution_to_json(kinds[name]) for name in kinds}
    rows: dict[type, list[dict[str, object]]] = {
        model: []
        for model in (
            models.TrialModel,
            models.TrialParamModel,
            models.TrialValueModel,
            models.TrialIntermediateValueModel,
        )
    }
    start = datetime(2026, 1, 1)
    for i, (params, state, _, losses) in enumerate(trials(count)):
        key = {"trial_id": i + 1}
        kept = optuna.trial.TrialState.COMPLETE if state == "complete" else None
        began = start + timedelta(seconds=i)
        when = {"datetime_start": began, "datetime_complete": began + timedelta(seconds=1)}
        ended = kept or optuna.trial.TrialState.PRUNED
        rows[models.TrialModel].append({**key, "number": i, "study_id": 1, "state": ended, **when})
        rows[models.TrialParamModel] += [
            {**key, "param_name": n, "param_value": v, "distribution_json": written[n]}
            for n, v in params.items()
        ]
        rows[models.TrialValueModel].append(
            {**key, "objective": 0, "value": losses[-1], "value_type": "FINITE"}
        )
        rows[models.TrialIntermediateValueModel] += [
            {**key, "step": (j + 1) * STEPS // POINTS, "intermediate_value": v,
             "intermediate_value_type": "FINITE"}
            for j, v in enumerate(losses)
        ]  # fmt: skip
    engine = create_engine(url)
    with engine.begin() as connection:
        for model, those in rows.items():
            connection.execute(insert(model), those)
    engine.dispose()


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(*command: str) -> Iterator[tuple[str, Callable[[], float]]]:
    """Run a server; gives its address, and what returns the most memory it ever held, in MB."""
    port = free_port()
    silent = subprocess.DEVNULL
    process = subprocess.Popen([*command, "--port", str(port)], stdout=silent, stderr=silent)
    address = f"http://127.0.0.1:{port}/"

    def memory() -> float:
        told = Path(f"/proc/{process.pid}/status").read_text()
        return int(told.split("VmHWM:")[1].split()[0]) / 1e3

    try:
        for _ in range(300):
            try:
                urlopen(address, timeout=10).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address, memory
    finally:
        process.terminate()
        process.wait()


@contextmanager
def changing(url: str) -> Iterator[None]:
    """Let a worker end a trial once a second, and begin the next one."""
    over = threading.Event()

    def change() -> None:
        draw = trials(1000)
        with Store(url) as store:
            study = store.search(NAME).studies[0].id
            while not over.is_set():
                params, state, target, losses = next(draw)
                setting = Setting(params=params, hyper={"lr": params["lr"]}, warmup=0.0)
                proposal = Proposal(
                    role=Role.SEARCH, origin="sobol", setting=setting, seed=0, target=target
                )
                trial = store.add_trial(study, proposal)
                attempt = store.begin(trial.id, "gpu-0", stop=target)
                over.wait(1.0)
                points = [
                    Point(step=(j + 1) * STEPS // POINTS, seconds=j / POINTS, loss=loss)
                    for j, loss in enumerate(losses)
                ]
                store.record(
                    trial.id, attempt, state=TrialState(state), step=target, loss=losses[-1],
                    seconds=1.0, points=points,
                )  # fmt: skip

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def opened(page: Page, address: str, wanted: str, *, live: bool) -> float:
    """Return after how many seconds a page was there."""
    page.goto(address, wait_until="commit")
    there = page.wait_for_function(READY if live else STILL, arg=wanted, timeout=60_000)
    return float(there.json_value() if live else page.evaluate("window.changed")) / 1e3


def clicked(page: Page) -> float:
    """Return how long the page of the history takes after a click on its switch."""
    begun = float(page.evaluate("performance.now()"))
    page.get_by_text("Logarithmic loss").click()
    over = page.wait_for_function(LOGARITHMIC, timeout=60_000)
    return (float(over.json_value()) - begun) / 1e3


def visit(
    browser: Browser, server: str, pages: dict[str, tuple[str, str]], *, live: bool = False
) -> dict[str, float]:
    """Open every page in a tab of its own as a new visitor does, and return how long each took."""
    took = {}
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.add_init_script(WATCH)
    for name, (path, wanted) in pages.items():
        page = context.new_page()
        took[name] = opened(page, server + path, wanted, live=live)
        sys.stderr.write(f"{name} {took[name]:.2f}\n")
        if name == "history":
            took["a click"] = clicked(page)
        page.close()
    context.close()
    return took


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def table(title: str, rounds: list[dict[str, float]]) -> None:
    """Write the least time of each page, and the most."""
    say(f"\n{title}, seconds (least, most)")
    for name in rounds[0]:
        times = [took[name] for took in rounds]
        say(f"  {name:22} {min(times):6.2f} {max(times):6.2f}")


def main() -> None:
    """Measure both by turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    about = facts("cpu")
    say(f"{about['device']}, {about['date']}, commit {about['commit']}")
    say(f"{given.trials} trials of {POINTS} points; load of the last minutes {os.getloadavg()}")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url, other = (f"sqlite:///{folder}/{name}.db" for name in ("ours", "optuna"))
        fill(url, given.trials)
        fill_optuna(other, given.trials)
        start = ("-P", "-m", "autotune", "dashboard", "--no-browser", "--storage", url)
        ours, held = stack.enter_context(serving(sys.executable, *start))
        command = str(Path(sys.executable).with_name("optuna-dashboard"))
        theirs, held_theirs = stack.enter_context(serving(command, other))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        stack.callback(browser.close)
        script = Path(folder, "floor.py")
        script.write_text(FLOOR)
        empty, _ = stack.enter_context(serving(sys.executable, "-c", SERVING, str(script)))
        quiet, changed, rivals, floor = [], [], [], []
        for _ in range(given.rounds):
            quiet.append(visit(browser, ours, OURS))
            rivals.append(visit(browser, theirs, THEIRS))
            floor.append(visit(browser, empty, {"first time": ("", CHART), "again": ("", CHART)}))
            with changing(url):
                changed.append(visit(browser, ours, OURS, live=True))
        table("autotune dashboard", quiet)
        table("the same, with a trial a second", changed)
        table("floor", floor)
        table("optuna-dashboard", rivals)
        say(f"\nmost memory: autotune {held():.0f} MB, optuna-dashboard {held_theirs():.0f} MB")
        say(f"load of the last minutes {os.getloadavg()}")


if __name__ == "__main__":
    main()
