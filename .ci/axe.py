"""Ask axe-core what is wrong with every page of the dashboard, and fail where it is serious.

Each page and tab of a small finished search and its report are opened, light on a screen and dark
on a phone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from autotune.app import report
from autotune.app.pages.main import LINKED, PAGES
from autotune.app.pages.study import TABS
from autotune.testing import sample
from autotune.testing.served import CHROMIUM, DRAWN, FLAGS, dashboard

NAMES = ("older", "newer")
SCREENS: tuple[tuple[int, Literal["light", "dark"]], ...] = ((1400, "light"), (400, "dark"))
WAIT = 180_000  # milliseconds for a page on a machine that does other work too
SERIOUS = ("serious", "critical")


def addresses() -> list[str]:
    """Return the path of each page and tab."""
    pages = ["" if page == PAGES[0] else page for page in (*PAGES, LINKED) if page != "study"]
    tabs = [f"study?{urlencode({'tab': tab, 'optimizer': 'adan'})}" for tab in TABS]
    return [*pages, *tabs]


def faults(page: Page, address: str) -> Iterator[str]:
    """Yield what is seriously wrong with a page, and where."""
    page.goto(address)
    if not address.startswith("file:"):
        page.wait_for_function(DRAWN)
    page.wait_for_timeout(1500)  # charts are drawn after the page
    for found in Axe().run(page).response["violations"]:
        if found["impact"] in SERIOUS:
            places = "\n      ".join(node["html"][:200] for node in found["nodes"][:5])
            yield f"{found['impact']} {found['id']}: {found['help']}\n      {places}"


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def check(browser: Browser, pages: Sequence[str]) -> int:
    """Tell the faults of every page; return how many there are."""
    count = 0
    for width, scheme in SCREENS:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
        )
        context.set_default_timeout(WAIT)
        page = context.new_page()
        for address in pages:
            told = list(faults(page, address))
            count += len(told)
            path = address.removeprefix(f"{urlsplit(address).scheme}://")
            say(f"{width} {scheme} {path}: {len(told) or 'no'} serious faults")
            for each in told:
                say(f"    {each}")
        context.close()
    return count


def main() -> int:
    """Return 1 where something is seriously wrong."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = Path(place)
        storage = f"sqlite:///{folder}/autotune.db"
        for name in NAMES:
            sample.make(storage, name)
        file = folder / "report.html"
        file.write_text(report.report(storage, NAMES[0]), encoding="utf-8")
        with dashboard(folder) as server:
            pages = [f"{server}/{path}" for path in addresses()]
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
            try:
                return int(check(browser, [*pages, file.as_uri()]) > 0)
            finally:
                browser.close()


if __name__ == "__main__":
    raise SystemExit(main())
