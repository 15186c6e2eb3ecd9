"""Ask axe-core what is wrong with every page of the dashboard, and fail where it is serious.

Each page and tab of a small finished search is opened, light on a screen and dark on a phone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from autotune.testing import sample

PAGES = ("", "compare", "across", "export", "trial", "kernels")
TABS = (
    *("History", "Curves", "Importance and slices", "Parallel coordinates", "Reliability"),
    *("Rungs and workers", "Trials", "Failures"),
)
SCREENS = ((1400, "light"), (400, "dark"))
CHROMIUM = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or "google-chrome"
SERIOUS = ("serious", "critical")
DRAWN = """() => { const app = document.querySelector('[data-testid="stApp"]');
  return app && app.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid="stSkeleton"], [data-stale="true"]'); }"""


@contextmanager
def dashboard(storage: str) -> Iterator[str]:
    """Serve the searches of a database; gives the address."""
    command = [sys.executable, "-P", "-m", "autotune", "dashboard", "--port", "0", "--no-browser"]
    reader, writer = os.pipe()  # it tells its address where errors go
    with subprocess.Popen([*command, "--storage", storage], stderr=writer) as process:
        os.close(writer)
        try:
            with open(reader) as told:
                yield told.readline().split()[2].rstrip("/")
        finally:
            process.terminate()


def addresses() -> list[str]:
    """Return the path of each page and tab."""
    tabs = [f"study?{urlencode({'tab': tab, 'optimizer': 'adan'})}" for tab in TABS]
    return [*PAGES, *tabs]


def faults(page: Page, address: str) -> Iterator[str]:
    """Yield what is seriously wrong with a page, and where."""
    page.goto(address)
    page.wait_for_function(DRAWN, timeout=60_000)
    page.wait_for_timeout(1500)  # charts are drawn after the page
    for found in Axe().run(page).response["violations"]:
        if found["impact"] in SERIOUS:
            places = "\n      ".join(node["html"][:200] for node in found["nodes"][:5])
            yield f"{found['impact']} {found['id']}: {found['help']}\n      {places}"


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def check(browser: Browser, server: str) -> int:
    """Tell the faults of every page; return how many there are."""
    count = 0
    for width, scheme in SCREENS:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
        )
        page = context.new_page()
        for path in addresses():
            told = list(faults(page, f"{server}/{path}"))
            count += len(told)
            say(f"{width} {scheme} /{path}: {len(told) or 'no'} serious faults")
            for each in told:
                say(f"    {each}")
        context.close()
    return count


def main() -> int:
    """Return 1 where something is seriously wrong."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        storage = f"sqlite:///{folder}/autotune.db"
        for name in ("older", "newer"):
            sample.make(storage, name)
        with dashboard(storage) as server:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
            )
            try:
                return int(check(browser, server) > 0)
            finally:
                browser.close()


if __name__ == "__main__":
    raise SystemExit(main())
