"""The dashboard as a reader sees it: Chromium draws it, and what is drawn is read back."""

from __future__ import annotations

import csv
import json
import re
import shutil
from io import StringIO

import pytest

from autotune.app import anytime, clock, history
from autotune.results import comparison
from autotune.studies import following
from autotune.studies.records import Proposal, Role, TrialState
from autotune.studies.setting import Setting
from autotune.studies.store import Store
from autotune.testing import sample, served

pytestmark = pytest.mark.browser

VISIBLE = "[...document.querySelectorAll('.js-plotly-plot')].filter(e => e.offsetParent)"
CHARTS = f"""count => {VISIBLE}.length >= count
  && {VISIBLE}.every(e => e._fullData && e.querySelector('.main-svg'))"""
TRACES = f"""place => {VISIBLE}[place]._fullData.map(t => (
  {{name: t.name, x: Array.from(t.x ?? []), y: Array.from(t.y ?? [])}}))"""
TIMEOUT = 60_000  # milliseconds; two cores that others use too draw a first page in 20 s


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which(served.CHROMIUM)
    if path is None:
        pytest.skip("no Chromium on the path; install it or set CHROMIUM_PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=served.FLAGS)
        yield browser
        browser.close()


class Reader:
    """A page, and everything it should not have done."""

    def __init__(self, page, address):
        self.page, self.address = page, address
        self.strangers, self.errors, self.dialogs = [], [], []
        page.on("request", self._asked)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))

    def _asked(self, request):
        ours = (self.address, self.address.replace("http", "ws"), "data:", "blob:")
        if not request.url.startswith(ours):
            self.strangers.append(request.url)

    def open(self, path, charts=0):
        self.page.goto(self.address + path)
        return self.settled(charts)

    def settled(self, charts=0):
        self.page.wait_for_function(served.DRAWN, timeout=TIMEOUT)
        if charts:
            self.page.wait_for_function(CHARTS, arg=charts, timeout=TIMEOUT)
        return self

    def traces(self, place=0):
        return {trace["name"]: trace for trace in self.page.evaluate(TRACES, place)}


@pytest.fixture(scope="module")
def devices(chromium):
    """What a dashboard is read on; each keeps the scripts that it has loaded for all tests."""
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    return {
        "desktop": chromium.new_context(viewport={"width": 1400, "height": 1000}),
        "dark phone": chromium.new_context(color_scheme="dark", **phone),
    }


@pytest.fixture
def read(devices):
    """Open addresses; afterwards nothing may have failed or gone elsewhere."""
    readers = []

    def make(address, device="desktop"):
        readers.append(Reader(devices[device].new_page(), address))
        return readers[-1]

    yield make
    for reader in readers:
        reader.page.close()
        reader.page.context.clear_cookies()
    for reader in readers:
        assert not reader.errors
        assert not reader.strangers
        assert not reader.dialogs


@pytest.fixture
def store(sample_url):
    with Store(sample_url, read_only=True) as opened:
        yield opened


def trials(store, optimizer):
    studies = {study.optimizer: study.id for study in store.search(sample.NAME).studies}
    study = studies[optimizer]
    return clock.dated(store.trials(study), following.ended(store, study))


def test_the_overview_draws_the_stored_progress(read, dashboard, store):
    drawn = read(dashboard).open("/", charts=2).traces()

    for name in sample.OPTIMIZERS:
        expected = anytime.progress(trials(store, name))
        assert drawn[name]["x"] == pytest.approx(expected.costs)
        assert drawn[name]["y"] == pytest.approx(expected.losses)


def test_compare_draws_the_stored_means_and_seeds(read, dashboard, store):
    drawn = read(dashboard).open("/compare", charts=4).traces()

    for row in comparison.load(store, sample.NAME).rows:
        assert drawn[f"{row.optimizer} tuned"]["x"] == [pytest.approx(row.tuned.loss.mean)]
        seeds = drawn[f"{row.optimizer} default, seeds"]["x"]
        assert seeds == pytest.approx(list(row.default.losses.values()))


def test_history_draws_every_search_trial(read, dashboard, store):
    drawn = read(dashboard).open("/study?optimizer=adan", charts=1).traces()

    done = [t for t in trials(store, "adan") if t.role is Role.SEARCH and t.state == "complete"]
    assert drawn["complete"]["x"] == [t.number for t in done]
    assert drawn["complete"]["y"] == pytest.approx([t.loss for t in done])
    assert drawn["failed"]["y"] == [history.LOST]


def test_a_click_on_a_tab_draws_it_and_moves_the_address(read, dashboard):
    reader = read(dashboard).open("/study?optimizer=adan&smooth=0.5", charts=1)

    reader.page.get_by_role("tab", name="Curves").click()
    reader.page.wait_for_function("location.search.includes('tab=Curves')", timeout=TIMEOUT)

    assert "best (trial 8)" in reader.settled(charts=1).traces()


@pytest.mark.parametrize(
    ("tab", "charts"), [("Importance%20and%20slices", 8), ("Parallel%20coordinates", 1)]
)
def test_a_deep_link_draws_the_charts_of_its_tab(read, dashboard, tab, charts):
    reader = read(dashboard).open(f"/study?optimizer=adan&tab={tab}", charts=charts)

    assert reader.page.evaluate(f"{VISIBLE}.length") == charts


def test_csv_holds_the_trials_of_the_filter(read, dashboard, store):
    reader = read(dashboard)
    reader.open("/study?optimizer=adan&tab=Trials&states=complete")

    with reader.page.expect_download() as download:
        reader.page.get_by_role("button", name="CSV", exact=True).click()

    rows = list(csv.DictReader(StringIO(download.value.path().read_text(encoding="utf-8"))))
    done = [t for t in trials(store, "adan") if t.state == "complete"]
    assert [float(row["loss"]) for row in rows] == [t.loss for t in done]


def test_an_export_downloads_what_it_shows(read, dashboard):
    reader = read(dashboard).open("/export?optimizer=adan&fmt=json")

    with reader.page.expect_download() as download:
        reader.page.get_by_role("button", name="Download", exact=True).click()

    assert json.loads(download.value.path().read_text())["optimizer"] == "adan"
    assert download.value.suggested_filename == "adan.json"


@pytest.mark.parametrize("path", ["/", "/compare", "/study?tab=Trials"])
def test_a_dark_phone_is_not_scrolled_sideways(read, dashboard, path):
    reader = read(dashboard, "dark phone").open(path)

    assert reader.page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_picked_search_stays_picked_on_other_pages(read, growing):
    from playwright.sync_api import expect

    reader = read(growing[0]).open("/?search=older", charts=2)

    reader.page.get_by_role("link", name="Compare").first.click()
    reader.page.get_by_role("heading", name="Compare", exact=True).wait_for()

    picked = reader.settled().page.get_by_role("combobox", name="Search")
    expect(picked).to_have_value("older")
    expect(reader.page).to_have_url(re.compile("search=older"))


def test_a_pick_is_in_the_address_and_on_other_pages(read, growing):
    from playwright.sync_api import expect

    page = read(growing[0]).open("/?search=newer", charts=2).page

    page.get_by_role("combobox", name="Search").click()
    page.get_by_role("option", name="older").click()
    expect(page).to_have_url(re.compile("search=older"))
    page.get_by_role("link", name="Compare").first.click()

    page.get_by_role("heading", name="Compare", exact=True).wait_for()
    expect(page).to_have_url(re.compile("compare.*search=older"))
    expect(page.get_by_role("combobox", name="Search")).to_have_value("older")


def test_a_chart_is_drawn_again_only_for_news(read, growing):
    address, url = growing
    reader = read(address).open("/?search=newer", charts=2)
    reader.page.evaluate(f"{VISIBLE}[0].mark = 1")

    reader.page.wait_for_timeout(4500)  # two looks for news
    quiet = reader.page.evaluate(f"{VISIBLE}[0].mark")
    with Store(url) as store:
        _improve(store)
    trials = reader.page.get_by_text("24", exact=True)
    trials.first.wait_for(timeout=TIMEOUT, state="attached")  # a table's cell is never visible

    assert quiet == 1
    # Charts follow what is said above them, some seconds later.
    reader.page.wait_for_function(
        f"Math.min(...({VISIBLE}[0]?._fullData?.[0].y ?? [])) === 0.5", timeout=TIMEOUT
    )


@pytest.fixture(scope="module")
def growing(serving, tmp_path_factory):
    """Serve two searches that a test may add to, and a hostile one, the last to begin.

    Gives the address and the database; a proxy at 127.0.0.2 may stand before it.
    """
    home = tmp_path_factory.mktemp("growing")
    url = f"sqlite:///{home}/autotune.db"
    for name in ("older", "newer"):
        sample.make(url, name, landscapes={"adan": sample.OPTIMIZERS["adan"]})
    with Store(url) as store:
        _attack(store)
    with serving(url, home, AUTOTUNE_ALLOWED_HOSTS="127.0.0.2") as (_, address):
        yield address, url


def _improve(store):
    study = store.search("newer").studies[0]
    known = store.trials(study.id)[0]
    again = {name: getattr(known, name) for name in ("setting", "target")}
    trial = store.add_trial(study.id, Proposal(role=Role.SEARCH, origin="gp", seed=0, **again))
    attempt = store.begin(trial.id, "test")
    store.record(trial.id, attempt, state=TrialState.COMPLETE, step=trial.target, loss=0.5)


def _attack(store):
    attack = "<img src=x onerror=alert(1)> **b** [a](javascript:alert(1)) $x$"
    space = {f"{attack} lr": ["log", 1e-4, 1e-1]}
    search = store.create_search(attack, {}, {"model": attack}, {"adan": space}, {})
    lr = {f"{attack} lr": 1e-3}
    proposal = Proposal(
        role=Role.SEARCH,
        origin=attack,
        setting=Setting(params=lr, hyper=lr, warmup=0.1),
        seed=0,
        target=90,
    )
    trial = store.add_trial(search.studies[0].id, proposal)
    attempt = store.begin(trial.id, attack)
    store.record(trial.id, attempt, state=TrialState.FAILED, step=1, reason=attack)


@pytest.mark.parametrize("path", ["/", "/study?tab=Failures", "/study?tab=History"])
def test_a_hostile_name_is_drawn_as_text(read, growing, path):
    reader = read(growing[0]).open(path)

    assert reader.page.locator("img[src='x']").count() == 0
    assert "onerror" in reader.page.url  # the page is of that search


def test_a_deep_link_behind_a_proxy_is_drawn(read, growing, proxying):
    with proxying(growing[0], "/tuning", strip=True) as public:
        reader = read(public).open("/study/?search=newer&optimizer=adan", charts=1)

        assert reader.page.url.startswith(f"{public}/study?")
        reader.page.get_by_role("link", name="Compare").click()
        reader.page.wait_for_url(f"{public}/compare**", timeout=TIMEOUT)
        reader.settled(charts=1)
        reader.page.close()
