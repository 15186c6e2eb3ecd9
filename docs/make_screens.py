"""Write docs/screens, pictures of every page of the dashboard, from searches that it runs first.

    python docs/make_screens.py [FOLDER]

The searches are kept in FOLDER, where one is named, and those that are complete do not run again.
They take some minutes, the pictures as many again. Budgets are counted in full runs, so that a slow
machine tries as much; which of two workers ends first may still turn what is tried next.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from autotune.app.pages.main import LINKED, PAGES
from autotune.app.pages.study import TABS
from autotune.studies.store import Store
from autotune.testing.served import CHROMIUM, DRAWN, FLAGS, dashboard, environment

SCREENS = Path(__file__).with_name("screens")
NAME, OTHER, RUNNING = "gpt-pico", "gpt-pico-random", "gpt-nano"
OPTIMIZERS = ("--optimizer", "adan", "--optimizer", "adamw-win2", "--optimizer", "adamw")
SEARCH = ("search", "--model", "gpt-pico", *OPTIMIZERS, "--seeds", "5", "--search")
COMMANDS = (
    (*SEARCH, NAME, "--runs", "40", "--record-norms", "--measure-noise"),
    ("validate", f"{NAME}/adan", "--steps", "5x"),
    (*SEARCH, OTHER, "--runs", "25", "--sampler", "random"),
    ("report", NAME, "-o", "report.html", "--force"),
)
BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "results"
WIDTHS: tuple[int, ...] = (1400, 400)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TALLEST = 16_384  # pixels of a page that Chromium draws
SHADES = 51  # of each colour, beside black
WAIT = 180_000  # milliseconds for a page on a machine that does other work too
LOOKS = 12  # at a page before its picture is taken as it is
SEEN = 40  # trials of the running search before its picture is taken
# Streamlit scrolls a box inside of the page.
HEIGHT = """() => { const box = document.querySelector('[data-testid="stMain"]');
  return Math.ceil(box ? box.scrollHeight : document.documentElement.scrollHeight); }"""


def autotune(folder: Path, *arguments: str) -> None:
    """Run the command in a folder, its database and files there."""
    command = [sys.executable, "-m", "autotune", *arguments]
    subprocess.run(command, cwd=folder, env=environment(), check=True)


def search(folder: Path) -> None:
    """Run what the pages show."""
    for command in COMMANDS:
        autotune(folder, *command)


def addresses(folder: Path) -> dict[str, str]:
    """Return the path of each page and tab by the name of its picture."""
    where = {"search": NAME, "optimizer": "adan"}
    with Store(f"sqlite:///{folder}/autotune.db", read_only=True) as store:
        study = next(s for s in store.search(NAME).studies if s.optimizer == "adan")
        best = (store.recommendation(study.id) or {})["source"]
    more = {"across": {"beside": OTHER}, LINKED: {"trial": best}}
    found = {
        page: f"{'' if page == PAGES[0] else page}?{urlencode({**where, **more.get(page, {})})}"
        for page in (*PAGES, LINKED)
        if page != "study"
    }
    tabs = {
        f"study-{tab.split()[0].lower()}": f"study?{urlencode({**where, 'tab': tab})}"
        for tab in TABS
    }
    return {**found, **tabs}


def still(page: Page, drawn: str) -> bytes:
    """Return a picture of a page that two looks show alike; a live page may never rest.

    Args:
        page: What is looked at.
        drawn: JavaScript that tells whether nothing waits to be drawn.
    """
    before = b""
    for _ in range(LOOKS):
        page.wait_for_function(drawn)
        now = page.screenshot()
        if page.evaluate(drawn):  # it did not begin to change meanwhile
            if now == before:
                break
            before = now
        page.wait_for_timeout(500)
    return before


def pictures(page: Page, width: int, address: str) -> Iterator[tuple[str, bytes]]:
    """Open an address; yield a picture of all of its page for each scheme."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address)
    drawn = "() => true" if address.startswith("file:") else DRAWN
    page.wait_for_function(drawn)
    page.wait_for_timeout(1000)  # charts are drawn after the page
    still(page, drawn)
    height = page.evaluate(HEIGHT)
    if height > TALLEST:
        sys.exit(f"a page must be at most {TALLEST} pixels tall, {address} is {height}")
    page.set_viewport_size({"width": width, "height": height})
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(1000)  # charts change their colours
        yield scheme, still(page, drawn)


def write(data: bytes, name: str) -> None:
    """Write a picture with fewer shades, which halves it; a palette would mix up the hues."""
    image = Image.open(BytesIO(data)).convert("RGB")
    shades = [round(round(value / 255 * SHADES) * 255 / SHADES) for value in range(256)]
    image.point(shades * 3).save(SCREENS / f"{name}.webp", lossless=True)


def take(browser: Browser, pages: dict[str, str]) -> None:
    """Write each page's pictures, for each width and scheme."""
    for width in WIDTHS:
        context = browser.new_context(timezone_id="UTC", reduced_motion="reduce")
        context.set_default_timeout(WAIT)
        page = context.new_page()
        for name, address in pages.items():
            page.emulate_media(color_scheme=SCHEMES[0])
            for scheme, data in pictures(page, width, address):
                write(data, f"{name}-{width}-{scheme}")
        context.close()


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """Have a search at work, some of its trials done."""
    command = [sys.executable, "-m", "autotune", "search", "--model", RUNNING, *OPTIMIZERS]
    command += ["--runs", "60", "--search", RUNNING]
    with subprocess.Popen(command, cwd=folder, env=environment()) as process:
        try:
            while trials(folder) < SEEN and process.poll() is None:
                time.sleep(1)
            yield
        finally:
            process.terminate()


def trials(folder: Path) -> int:
    """Return how many trials the running search has begun."""
    with Store(f"sqlite:///{folder}/autotune.db", read_only=True) as store:
        found = [each for each in store.searches() if each.name == RUNNING]
        return sum(sum(study.counts.values()) for each in found for study in each.studies)


def main(folder: Path) -> None:
    """Write all pictures."""
    search(folder)
    SCREENS.mkdir(exist_ok=True)
    flags = ("--benchmarks", str(BENCHMARKS), "--allow-control")
    with sync_playwright() as playwright, dashboard(folder, *flags) as server:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        pages = {name: f"{server}/{path}" for name, path in addresses(folder).items()}
        take(browser, pages | {"report": (folder / "report.html").as_uri()})
        with running(folder):
            take(browser, {"overview-running": f"{server}/?search={RUNNING}"})
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as place:
            main(Path(place))
