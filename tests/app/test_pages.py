"""Every page runs: with a search, without one, by deep link, and with a name meant to do harm."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from autotune.app import picker, queries, serve, words
from autotune.studies.errors import StorageError
from autotune.studies.records import Proposal, Role, SearchState, TrialState
from autotune.studies.store import Store
from autotune.testing import sample
from autotune.testing.longer import validated
from autotune.testing.trials import setting_of

PAGES = ("overview", "compare", "across", "study", "export", "trial")
TABS = (
    *("History", "Curves", "Importance and slices", "Parallel coordinates", "Reliability"),
    *("Rungs and workers", "Trials", "Failures"),
)
HOSTILE = "<img src=x onerror=alert(1)> **b** $x$ [a](javascript:1) :red[c]"


@pytest.fixture
def fresh(tmp_path):
    """Make a database with one search of the given trials."""

    def make(*ends, name="fresh", optimizers=("adan",)):
        url = f"sqlite:///{tmp_path}/fresh.db"
        spaces = {optimizer: {"lr": ["log", 1e-4, 1e-1]} for optimizer in optimizers}
        with Store(url) as store:
            search = store.create_search(name, {}, dict(sample.TASK), spaces, {})
            for study in search.studies:
                for number, (state, loss) in enumerate(ends):
                    _add(store, study.id, number, state, loss)
        return url

    return make


def _proposal(number):
    lr = 1e-3 * (number + 1)
    return Proposal(
        role=Role.SEARCH,
        origin="sobol",
        setting=setting_of(params={"lr": lr}, hyper={"lr": lr}),
        seed=0,
        target=90,
    )


def _add(store, study, number, state, loss):
    trial = store.add_trial(study, _proposal(number))
    if state is not TrialState.WAITING:
        attempt = store.begin(trial.id, "search")
        reason = "disk full" if state is TrialState.FAILED else None
        store.record(trial.id, attempt, state=state, step=90, loss=loss, reason=reason)


def shown(at):
    """Return every word on the page."""
    kinds = (
        at.header,
        at.subheader,
        at.markdown,
        at.caption,
        at.info,
        at.text,
        at.code,
        at.warning,
    )
    return "\n".join(element.value for kind in kinds for element in kind)


def told(at):
    """Return the text of each figure for those who cannot see it."""
    return [chart.proto.alt for chart in at.get("plotly_chart")]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_the_sample(page, sample_url, name):
    at = page(name, sample_url)

    assert not at.exception
    assert not at.error
    assert at.selectbox(key="search").value == sample.NAME
    assert all(told(at))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_without_a_database_tells_the_command(page, tmp_path, name):
    at = page(name, f"sqlite:///{tmp_path}/none.db")

    assert not at.exception
    assert at.code[0].value == "autotune search --model resnet-mini --trials 6"
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_an_empty_database_tells_the_command(page, tmp_path, name):
    url = f"sqlite:///{tmp_path}/empty.db"
    Store(url).close()

    assert page(name, url).code[0].value == "autotune search --model resnet-mini --trials 6"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_a_search_without_trials_says_so(page, fresh, name):
    at = page(name, fresh())

    assert not at.exception
    assert at.info or at.warning


@pytest.mark.parametrize("name", PAGES)
def test_a_database_that_is_none_is_one_sentence(page, tmp_path, name):
    (tmp_path / "bad.db").write_bytes(b"not a database at all" * 100)

    at = page(name, f"sqlite:///{tmp_path}/bad.db")

    assert not at.exception
    assert "is not an SQLite database" in at.error[0].value


def _change(url, order):
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(order)


@pytest.mark.parametrize(
    ("version", "sentence"), [("0001", "has the older schema 0001"), ("9999", "has schema 9999")]
)
def test_a_database_of_another_version_is_one_sentence(page, fresh, version, sentence):
    url = fresh()
    _change(url, f"UPDATE autotune_version SET version_num = '{version}'")

    at = page("overview", url)

    assert not at.exception
    assert sentence in at.error[0].value


def test_a_locked_database_is_one_sentence(page, fresh):
    url = fresh()
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        at = page("overview", f"{url}?timeout=0.01")

    assert "is locked by another process" in at.error[0].value


def test_a_database_that_disappears_is_said_and_may_come_back(page, fresh, tmp_path):
    url = fresh((TrialState.COMPLETE, 1.0))
    at = page("overview", url)
    (tmp_path / "fresh.db").rename(tmp_path / "kept.db")
    at.run()
    lost = [caption.value for caption in at.caption]
    (tmp_path / "kept.db").rename(tmp_path / "fresh.db")

    assert lost == ["Database, not there at present"]
    assert at.run().selectbox(key="search").value == "fresh"


def _refuse(url, **kwargs):
    raise StorageError("the database is gone")


def test_a_live_page_keeps_what_it_showed_when_the_database_refuses(page, fresh, monkeypatch):
    url = fresh((TrialState.COMPLETE, 1.0))
    asked, signature = [], queries.signature

    def refusing(url):
        asked.append(url)
        if len(asked) == 2:  # the page itself asked first
            monkeypatch.setattr(queries, "Store", _refuse)  # then nothing else is read
            raise StorageError("the database is gone")
        return signature(url)

    monkeypatch.setattr(queries, "signature", refusing)

    at = page("overview", url)

    assert not at.exception
    assert [error.value for error in at.error] == ["the database is gone"]
    assert at.selectbox(key="search").value == "fresh"


@pytest.mark.parametrize("tab", ["Importance and slices", "Reliability"])
def test_losses_that_are_not_finite_are_no_obstacle(page, fresh, tab):
    url = fresh(*[(TrialState.COMPLETE, 1.0 + number) for number in range(10)])
    _change(url, "UPDATE autotune_trials SET loss = 9e999 WHERE number IN (2, 5)")
    _change(url, "UPDATE autotune_trials SET loss = -9e999 WHERE number = 7")

    at = page("study", url, tab=tab)

    assert not at.exception
    assert not at.error


def test_settings_without_a_difference_are_said(page, fresh):
    url = fresh(*[(TrialState.COMPLETE, 1.0 + number) for number in range(10)])
    _change(url, """UPDATE autotune_trials SET params = '{"lr": 0.01}'""")
    said = "The 10 settings that were measured do not differ in any parameter."

    for tab in ("Importance and slices", "Parallel coordinates"):
        assert page("study", url, tab=tab).info[0].value == said


@pytest.fixture
def crowded(fresh):
    """Make a search of 200 optimizers, none of which is installed here."""
    names = [f"optimizer{number:03}" for number in range(200)]
    return fresh((TrialState.COMPLETE, 1.0), optimizers=names)


def test_two_hundred_optimizers_are_listed_and_a_few_are_named(page, crowded):
    at = page("overview", crowded)

    assert not at.exception
    assert len(at.dataframe[1].value) == 200
    assert at.caption[0].value.endswith("; 192 others")


def test_an_optimizer_that_is_not_installed_is_one_sentence(page, crowded):
    at = page("export", crowded, which="trial")

    assert not at.exception
    assert at.info[0].value.startswith(
        "search 'fresh' was run with optimizer 'optimizer000', which is not"
    )


@pytest.mark.parametrize("tab", TABS)
def test_a_tab_opens_by_its_address(page, sample_url, tab):
    at = page("study", sample_url, tab=tab, optimizer="adan")

    assert not at.exception
    assert at.selectbox(key="optimizer").value == "adan"
    assert bool(told(at)) is (tab not in ("Trials", "Failures"))
    assert all(told(at))


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.COMPLETE])
def test_a_tab_of_a_single_trial_opens(page, fresh, tab, state):
    url = fresh((state, 1.0 if state is TrialState.COMPLETE else None))

    assert not page("study", url, tab=tab).exception


def test_the_verdict_stands_on_top_of_compare(page, sample_url):
    at = page("compare", sample_url)

    assert at.subheader[0].value == r"adan\-win has the lowest mean, not significantly below adan"


@pytest.mark.parametrize("name", ["compare", "overview"])
def test_what_was_tried_stands_beside_the_verdict(page, sample_url, name):
    captions = [caption.value for caption in page(name, sample_url).caption]

    assert any(text.startswith("Tried") and " settings in " in text for text in captions)


@pytest.mark.parametrize("name", ["compare", "overview"])
def test_what_became_of_it_in_longer_runs_is_said(page, sample_url, tmp_path, name):
    copy = tmp_path / "autotune.db"
    shutil.copy(sample_url.removeprefix("sqlite:///"), copy)
    with Store(f"sqlite:///{copy}") as store:
        (said,) = validated(store, {"tuned": [0.5, 0.6], "default": [1.5, 1.61]}).sentences
    at = page(name, f"sqlite:///{copy}")
    assert said.startswith("adan holds at 5x")
    assert f"- {words.plain(said)}" in [text.value for text in at.markdown]
    if name == "compare":
        assert "adan in runs 5 times as long" in [each.value for each in at.subheader]
        table = at.dataframe[-1].value
        assert list(table["restated by"]) == ["r", ""]
        assert list(table["loss"]) == ["0.5500 ± 0.6353", "1.5550 ± 0.6988"]


def test_a_search_of_several_kinds_of_devices_says_so(page, fresh):
    url = fresh((TrialState.COMPLETE, 1.0))
    with Store(url) as store:
        store.mix_search("fresh", ["cpu in float32", "cuda in float32"])
    captions = [caption.value for caption in page("compare", url).caption]

    assert captions[0].startswith(r"Mixed\: trials ran on cpu in float32 and on cuda in float32")


def test_compare_shows_default_and_tuned_with_intervals(page, sample_url):
    at = page("compare", sample_url)
    table = at.dataframe[0].value

    assert list(table["setting"]) == ["default", "tuned"] * 3
    assert table["loss"].str.contains("±").all()
    longer = f"autotune validate {sample.NAME} --steps 5x --storage {sample_url}"
    assert longer in [code.value for code in at.code]


def test_compare_before_judging_says_what_is_missing(page, fresh):
    at = page("compare", fresh((TrialState.COMPLETE, 1.0)))

    assert at.info[0].value.startswith("No setting was judged yet")


def test_the_address_picks_the_search(page, sample_url, tmp_path):
    url = f"sqlite:///{tmp_path}/two.db"
    sample.make(url, "older", landscapes={"adan": sample.OPTIMIZERS["adan"]})
    sample.make(url, "newer", landscapes={"adan": sample.OPTIMIZERS["adan"]})

    assert page("overview", url, search="older").selectbox(key="search").value == "older"


def test_without_an_address_the_newest_search_is_shown(page, tmp_path):
    url = f"sqlite:///{tmp_path}/two.db"
    sample.make(url, "older", landscapes={"adan": sample.OPTIMIZERS["adan"]})
    sample.make(url, "newer", landscapes={"adan": sample.OPTIMIZERS["adan"]})

    assert page("overview", url).selectbox(key="search").value == "newer"


def test_an_unknown_search_in_the_address_is_said(page, sample_url):
    at = page("overview", sample_url, search="gone")

    assert at.warning[0].value == r"There is no search gone here; this is resnet\-mini."


def test_an_optimizer_of_another_search_is_said(page, sample_url):
    at = page("study", sample_url, optimizer="lamb")

    assert at.warning[0].value == r"There is no optimizer lamb here; this is adan\-win."


def test_trials_are_filtered_by_state(page, sample_url):
    at = page("study", sample_url, tab="Trials", optimizer="adan", states="failed")

    assert list(at.dataframe[0].value["state"]) == ["failed"]


def test_a_filter_that_matches_nothing_says_so(page, sample_url):
    at = page("study", sample_url, tab="Trials", optimizer="adan", text="no such words")

    assert at.info[0].value == "No trial matches."


@pytest.mark.parametrize("tab", ["Curves", "Importance and slices"])
def test_one_filter_is_that_of_every_figure(page, sample_url, tab):
    none = page("study", sample_url, tab=tab, optimizer="adan", text="no such words")

    assert "No trial matches." in [each.value for each in none.info]


def test_picked_trials_are_kept_in_the_address(page, sample_url):
    at = page("study", sample_url, tab="Trials", optimizer="adan", picked="2, 3-5", text="sobol")

    assert list(at.dataframe[0].value["trial"]) == [2, 3, 4, 5]
    at.text_input(key="picked").set_value("4, 8").run()
    assert list(at.dataframe[0].value["trial"]) == [4]


def test_picked_trials_that_are_no_numbers_are_said(page, sample_url):
    at = page("study", sample_url, tab="Trials", optimizer="adan", picked="best")

    assert at.warning[0].value == words.plain(
        "trials must be numbers and ranges, as 3, 7, 20-30, got 'best'"
    )
    assert len(at.dataframe[0].value) == 23


def test_failures_are_counted_by_reason(page, sample_url):
    at = page("study", sample_url, tab="Failures", optimizer="adan")

    reasons = dict(
        zip(at.dataframe[0].value["reason"], at.dataframe[0].value["trials"], strict=True)
    )
    assert reasons[sample.REASONS[TrialState.FAILED]] == 1


def test_a_trial_is_shown_by_its_address(page, sample_url):
    at = page("trial", sample_url, optimizer="adan", trial="3")

    told = {metric.label: metric.value for metric in at.metric}
    assert (told["State"], told["Step"]) == ("diverged", "19 of 270")
    assert at.warning[0].value == words.plain(sample.REASONS[TrialState.DIVERGED])
    assert f"autotune show {sample.NAME}/adan 3 --rerun" in at.code[-1].value


def test_a_trial_shows_the_other_runs_of_its_setting(page, sample_url):
    at = page("trial", sample_url, optimizer="adan", trial="8")

    runs = next(each.value for each in at.dataframe if "stage" in each.value)
    assert list(runs["trial"]) == [14, 18, 20, 22]
    assert list(runs["stage"]) == ["select", "judge", "judge", "judge"]


def test_the_setting_of_any_trial_is_exported(page, sample_url):
    at = page("export", sample_url, optimizer="adan", fmt="json", which="trial", trial="5")

    assert '"origin": "trial 5 (sobol)"' in at.code[0].value


def test_a_trial_that_ran_no_command_has_no_log(page, fresh):
    url = fresh((TrialState.COMPLETE, 1.0))

    at = page("trial", url, trial="0")

    assert "ran no command" in at.info[-1].value


def test_the_judged_loss_of_the_overview_is_that_of_the_verdict(page, sample_url):
    at = page("overview", sample_url)

    told = {metric.label: metric.value for metric in at.metric}
    assert told["Judged loss, adan\\-win"] == "1.2622"


def test_a_running_search_says_what_it_does_now(page, fresh):
    url = fresh((TrialState.COMPLETE, 1.0))
    with Store(url) as store:
        (study,) = store.search("fresh").studies
        store.begin(store.add_trial(study.id, _proposal(1)).id, "gpu7-0", stop=90)

    at = page("overview", url)

    told = {metric.label: metric.value for metric in at.metric}
    assert told["Stage"] == "search"
    assert "gpu7-0" in str(at.dataframe[1].value)


def test_reliability_tells_what_short_runs_and_single_seeds_are_worth(page, sample_url):
    at = page("study", sample_url, tab="Reliability", optimizer="adan")

    told = [caption.value for caption in at.caption]
    assert "Rank correlation +0.60 over 12 settings; in the best tenth: too few to say" in told
    assert [each.value for each in at.subheader][-2:] == [
        "What short runs are worth",
        "What one seed is worth",
    ]
    assert not at.warning


def test_reliability_warns_where_seeds_differ_more_than_the_best_settings(page, fresh):
    url = fresh((TrialState.COMPLETE, 1.0), (TrialState.COMPLETE, 1.001))
    with Store(url) as store:
        (study,) = store.search("fresh").studies
        for source, loss in ((0, 1.0), (1, 1.5)):
            again = replace(_proposal(source), role=Role.SELECT, seed=1, source=source)
            trial = store.add_trial(study.id, again)
            attempt = store.begin(trial.id, "search")
            store.record(trial.id, attempt, state=TrialState.COMPLETE, step=90, loss=loss)

    at = page("study", url, tab="Reliability")

    assert at.warning[0].value == words.plain(
        "The best settings differ by less (0.00071) than one setting does from seed to seed "
        "(0.25): this budget cannot tell which of them is best"
    )


def test_reliability_before_there_is_anything_to_compare_says_what_it_takes(page, fresh):
    at = page("study", fresh((TrialState.COMPLETE, 1.0)), tab="Reliability")

    assert [each.value for each in at.info] == [
        "Rungs are compared once 4 settings were measured at two of them.",
        "No two settings have run on the same two seeds yet.",
    ]


def test_reliability_names_a_range_that_was_widened(page, fresh):
    url = fresh((TrialState.COMPLETE, 1.0))
    with Store(url) as store:
        wide = {"lr": ["log", 1e-4, 0.5, 1e-4, 0.1]}
        store.update_search("fresh", space={"adan": wide})

    at = page("study", url, tab="Reliability")

    assert at.info[0].value == words.plain(
        "lr was searched from 0.0001 to 0.5; the range 0.0001 to 0.1 was widened because "
        "the best settings lay at its end"
    )


def test_too_few_settings_have_no_importance(page, fresh):
    at = page("study", fresh(*[(TrialState.COMPLETE, 1.0)] * 3), tab="Importance and slices")

    assert at.info[0].value == (
        "Importance needs 8 settings measured after equally many steps; there are 3."
    )


def test_export_previews_the_format_of_the_address(page, sample_url):
    at = page("export", sample_url, optimizer="adan", fmt="json", which="default")

    assert '"optimizer": "adan"' in at.code[0].value


def test_export_before_judging_says_what_to_do(page, fresh):
    at = page("export", fresh((TrialState.COMPLETE, 1.0)))

    assert "has no loss" in at.info[0].value


@pytest.mark.parametrize("name", PAGES)
def test_a_hostile_name_is_shown_as_text(page, fresh, name):
    at = page(name, fresh((TrialState.FAILED, None), name=HOSTILE))

    assert not at.exception
    verbatim = [element.value for element in at.code]  # drawn as it is, never as markup
    told = shown(at)
    for text in verbatim:
        told = told.replace(text, "")
    assert "<img" not in told.replace(r"\<img", "")
    assert not any(element.allow_html for element in at.markdown)


def test_news_are_noticed_and_silence_is_not(sample_url, fresh):
    url = fresh()
    before = queries.signature(url)
    with Store(url) as store:
        same = queries.signature(url)
        store.update_search("fresh", state=SearchState.COMPLETE)

    assert (same == before, queries.signature(url) == before) == (True, False)


def test_a_search_is_read_again_only_when_it_changed(sample_url):
    assert queries.snapshot(sample_url, sample.NAME) is queries.snapshot(sample_url, sample.NAME)


def test_a_page_without_widget_state_or_address_shows_the_search_picked_before(page, fresh):
    url = fresh((TrialState.COMPLETE, 0.5), name="older")
    with Store(url) as store:
        store.create_search("newer", {}, dict(sample.TASK), {"adan": {}}, {})
    first = page("overview", url, search="older")

    # What a change of page leaves when it meets a refresh.
    at = AppTest.from_file(str(serve.HERE / "pages" / "main.py"), default_timeout=30)
    at.session_state[picker.KEPT + "search"] = first.session_state[picker.KEPT + "search"]
    at.run()

    assert at.selectbox(key="search").value == "older"


def test_a_search_whose_process_is_gone_is_shown_as_interrupted(page, fresh):
    at = page("overview", fresh((TrialState.RUNNING, None)))
    state = next(metric for metric in at.metric if metric.label == "State")
    assert state.value == "interrupted"
